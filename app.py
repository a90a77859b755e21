"""A page to use trained runs in a browser: ``python app.py run=RUN [RUN ...] [key=value ...]``."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

import command_line


@hydra.main(version_base="1.3", config_path="conf", config_name="app")
def main(cfg: DictConfig) -> None:
    """Compose, then serve the page until Ctrl-C."""
    with command_line.clear_errors():
        app(cfg)


def app(cfg: DictConfig) -> None:
    """Open the runs and serve their page."""
    import use_page

    use_page.check(cfg)
    from page.server import listen, serve

    place = listen(cfg.host, cfg.port)
    serve(use_page.open_desk(cfg), use_page.page_settings(cfg), place)


if __name__ == "__main__":
    sys.argv[1:] = command_line.with_runs(sys.argv[1:])
    command_line.run(main)
