"""``docs/baselines.md``: what was published, how that is known, and what it takes to try it here.

``python scripts/baselines.py`` writes it from the headers and settings of
``conf/experiment/paper/*.yaml``. It builds every network once to count its operations, which takes
some minutes and 3 GB.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PAGE = ROOT / "docs" / "baselines.md"
PAPERS = ROOT / "conf" / "experiment" / "paper"
TFLOPS = 50
BEGINNING = f"""# Baselines of papers

Written by `python scripts/baselines.py` from `conf/experiment/paper`; a test holds that it is up
to date. Each file is composed, built and trained for two steps on small networks in the tests, and
published networks are held to their number of parameters.

**GPU-hours are an estimate, not a measurement**: operations of one forward pass on one image,
counted on the network, times 3 for the backward pass, times the images, at {TFLOPS} TFLOP/s.
Validation, loading and sampling come on top. For GANs it is the lower end: D sees a generated image
for every real one, and a gradient penalty goes through D twice. Networks below 1 GFLOP are bound by
the number of steps and not by operations: theirs take many times longer than stated. A "?" is a
probe, whose features are not counted. `train.py` prints the images per second of your machine.

| experiment | published | data | images seen | GFLOP | GPU-hours | here |
|---|---|---|---:|---:|---:|---|
"""
SECTION = """
## {name}

{source}

**Published.** {expected}

**Marks.** {marks}

**Here.** {here}

```
python train.py experiment=paper/{name}
```
"""


class Baseline(NamedTuple):
    """What the header of an experiment says; ``ours`` is "" where it has not been trained here."""

    name: str
    source: str
    expected: str
    ours: str
    marks: str

    @property
    def number(self) -> str:
        """The first published figure, short enough for a table."""
        return re.split(r" \(|, |; | in | on the | of the |\. |\.$|: ", self.expected)[0]


class Cost(NamedTuple):
    """What training takes.

    Attributes:
        data: name of the data set.
        images: seen by the end.
        gflop: of one forward pass on one image; None where the method counts none.
    """

    data: str
    images: int
    gflop: float | None

    @property
    def hours(self) -> str:
        """GPU-hours at ``TFLOPS``, two digits; "?" where the operations are not known."""
        if self.gflop is None:
            return "?"
        hours = 3 * self.gflop * self.images / (TFLOPS * 1e3 * 3600)
        return f"{float(f'{hours:.2g}'):,.0f}" if hours >= 10 else f"{hours:.2g}"


def header(path: Path) -> str:
    """Give the comment at the head of an experiment as one line."""
    lines = []
    for line in path.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


def read(path: Path) -> Baseline:
    """Give the baseline that an experiment file describes.

    Raises:
        ValueError: where its header has no "Expected:" followed by "Mark".
    """
    form = r"(.+?) Expected: (.+?)(?: Ours: (.+?))? Marks?: (.+)"
    parts = re.fullmatch(form, header(path))
    if parts is None:
        raise ValueError(f"the header of {path} lacks 'Expected: ...' and then 'Mark: ...'")
    texts = (text or "" for text in parts.groups())
    return Baseline(path.stem, *(text[:1].upper() + text[1:] for text in texts))


def composed(name: str) -> dict[str, Any]:
    """Give the checked settings of an experiment."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    import experiment
    from config import register

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return experiment.check(compose("train", [f"experiment=paper/{name}", "paths.data=data"]))


def counted(name: str) -> Cost:
    """Give what an experiment takes by its settings, the operations counted on its network."""
    import experiment

    print(name, file=sys.stderr, flush=True)
    config = composed(name)
    data = config["data"]["_target_"].rsplit(".", 1)[-1]
    if data == "ImageFolder":
        data = Path(config["data"]["folder"]).name + " in data.folder"
    flops = experiment.build_module(config).forward_flops()
    gflop = float(f"{flops / 1e9:.3g}") if flops else None
    return Cost(data, config["budget"]["images"], gflop)


def written(name: str) -> Cost:
    """Give what ``counted`` gave when the page was written, as the page has it.

    Raises:
        ValueError: where the page does not have it.
    """
    found = re.search(rf"^\| \[{name}\].*", PAGE.read_text(), re.M)
    if found is None:
        raise ValueError(f"{PAGE} has no {name}; run python scripts/baselines.py")
    _, _, _, data, images, gflop, *_ = (cell.strip() for cell in found[0].split("|"))
    return Cost(data, int(images.replace(",", "")), None if gflop == "?" else float(gflop))


def row(baseline: Baseline, cost: Cost) -> str:
    """Give the line of the table for an experiment."""
    name, gflop = baseline.name, "?" if cost.gflop is None else f"{cost.gflop:.3g}"
    length = f"{cost.images:,} | {gflop} | {cost.hours}"
    ours = "see below" if baseline.ours else "not run"
    return f"| [{name}](#{name}) | {baseline.number} | {cost.data} | {length} | {ours} |"


def section(baseline: Baseline, cost: Cost) -> str:
    """Give the part of the page on an experiment."""
    hours = "a number of GPU-hours not counted" if cost.gflop is None else f"{cost.hours} GPU-hours"
    not_run = f"Not run: needs {cost.data} and {hours}."
    return SECTION.format(**{**baseline._asdict(), "here": baseline.ours or not_run})


def page(cost: Callable[[str], Cost] = counted) -> str:
    """Give the whole page; ``cost`` tells what an experiment takes by its name."""
    table, sections = [], []
    for path in sorted(PAPERS.glob("*.yaml")):
        baseline, takes = read(path), cost(path.stem)
        table.append(row(baseline, takes))
        sections.append(section(baseline, takes))
    return BEGINNING + "\n".join(table) + "\n" + "".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
