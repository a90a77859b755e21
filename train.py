"""Train one experiment, then test it: ``python train.py [experiment=...] [key=value ...]``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import command_line

if TYPE_CHECKING:
    from experiment import Experiment, Parts
    from run_folder import Run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Compose, then train."""
    with command_line.clear_errors():
        train(cfg)


def train(cfg: DictConfig) -> Experiment:
    """Train what ``cfg`` says in a new run folder, or go on in the one of ``resume=``."""
    import experiment
    import summary

    with ExitStack() as at_the_end:
        run, parts = open_run(cfg, at_the_end)
        built = experiment.build(run.config, run.folder, run.id, parts)
        at_the_end.callback(experiment.close, built)
        summary.opening(run, built)
        built.trainer.fit(
            built.module, datamodule=built.data, ckpt_path=run.checkpoint, weights_only=True
        )
        if built.module.progress >= 1.0:
            built.trainer.test(built.module, datamodule=built.data, verbose=False)
        summary.closing(run, built)
    return built


def open_run(cfg: DictConfig, at_the_end: ExitStack) -> tuple[Run, Parts]:
    """Give a run folder, to be let go of at the end, and what was built to see that all is well.

    Whatever is wrong is refused before a folder is made.
    """
    import experiment
    import run_folder

    config = experiment.resolve(cfg)
    refuse_unsafe_multirun(config)
    resumed, config["resume"] = config["resume"], None
    if resumed:
        run = run_folder.resume(Path(resumed), config, list(HydraConfig.get().overrides.task))
        at_the_end.callback(run_folder.release, run)
        experiment.check_plain(run.config)
        run_folder.save_config(run)
        return run, experiment.prepare(run.config)
    experiment.check_plain(config)
    parts = experiment.prepare(config)
    run = run_folder.create(config, experiment.title(HydraConfig.get().runtime.choices))
    at_the_end.callback(run_folder.release, run)
    return run, parts


def refuse_unsafe_multirun(config: dict[str, Any]) -> None:
    """Refuse ``-m`` over several devices in one process: a second job would lose data silently."""
    job = HydraConfig.get()
    basic = "BasicLauncher" in str(job.launcher.get("_target_"))
    if job.mode == RunMode.MULTIRUN and basic and config["trainer"]["devices"] not in (1, [0]):
        raise ValueError(
            f"-m with trainer.devices={config['trainer']['devices']} is unsafe in one process; "
            "start one command per job from the shell, or use a launcher that does"
        )


if __name__ == "__main__":
    sys.argv[1:] = command_line.for_the_resumed_run(sys.argv[1:])
    command_line.run(main)
