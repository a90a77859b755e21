"""The typed schema of every configuration, and clear words where a configuration is wrong.

The frame (seed, budget, paths, ...) is made of dataclasses in Hydra's ConfigStore. Every node with
a ``_target_`` is checked against the signature of what it names, so a constructor is the schema
of its own settings and a new method needs no entry anywhere.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class ConfigError(ValueError):
    """The configuration is wrong; the message names the key and the next step."""


@dataclass
class Budget:
    """How long to train; the first that is reached ends the run."""

    images: int | None = None
    steps: int | None = None
    minutes: float | None = None


@dataclass
class Paths:
    """Folders, relative to where the command is called."""

    runs: str = MISSING
    data: str = MISSING
    cache: str = MISSING


@dataclass
class Cache:
    """The one folder that using a run needs, relative to where the command is called."""

    cache: str = MISSING


@dataclass
class Place:
    """Where the data of a run lie on this machine, if elsewhere than where it was trained."""

    data_dir: str | None = None
    folder: str | None = None
    num_workers: int | None = None


@dataclass
class Train:
    """What ``train.py`` takes; values are in ``conf/train.yaml``."""

    seed: int = MISSING
    name: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    resume: str | None = None
    validate_every_images: int = MISSING
    find_unused_parameters: bool = MISSING
    sync_batchnorm: bool = MISSING
    budget: Budget = field(default_factory=Budget)
    paths: Paths = field(default_factory=Paths)
    data: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)


@dataclass
class Use:
    """What ``sample.py`` and ``evaluate.py`` share: which weights of which run, and on what."""

    run: str = MISSING
    checkpoint: str = MISSING
    weights: str | None = None
    seed: int = MISSING
    find_unused_parameters: bool = False
    sync_batchnorm: bool = False
    sampling: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    paths: Cache = field(default_factory=Cache)


@dataclass
class Mask:
    """What ``task=inpaint`` hides; see ``tasks.masks.Mask``."""

    file: str | None = None
    box: list[int] | None = None
    strokes: int | None = None
    patches: float | None = None
    patch: int | None = None
    seed: int | None = None


@dataclass
class Sample(Use):
    """What ``sample.py`` takes; values are in ``conf/sample.yaml``.

    What is null has the value that ``tasks`` holds for the task.
    """

    n: int | None = MISSING
    task: str = MISSING
    label: int | None = None
    input: str | None = None
    output: str | None = None
    overwrite: bool = MISSING
    restoring: dict[str, Any] = field(default_factory=dict)
    strength: float | None = None
    noise: float | None = None
    factor: int | None = None
    images: int | None = None
    corrupt: bool | None = None
    corruption_seed: int | None = None
    mask: Mask = field(default_factory=Mask)
    left: int | None = None
    right: int | None = None
    top: int | None = None
    bottom: int | None = None
    place: str | None = None
    paste: bool | None = None
    tasks: dict[str, Any] = field(default_factory=dict)


@dataclass
class Limits:
    """What the page takes at most."""

    megabytes: float = MISSING
    results: int = MISSING
    steps: int = MISSING


@dataclass
class App(Sample):
    """What ``app.py`` takes; values are in ``conf/app.yaml``.

    What is of a task is what the page begins with.
    """

    beside: list[str] = field(default_factory=list)
    host: str = MISSING
    port: int = MISSING
    limits: Limits = field(default_factory=Limits)


@dataclass
class Evaluate(Use):
    """What ``evaluate.py`` takes; values are in ``conf/evaluate.yaml``."""

    # Of a run 10,000 images where null, of a folder all.
    n: int | None = None
    images: str | None = None
    reference: str | None = None
    statistics: str | None = None
    batch_size: int = MISSING
    # A list of metrics of generated images, or the name of one of the groups.
    metrics: Any = MISSING
    groups: dict[str, Any] = field(default_factory=dict)
    data: Place = field(default_factory=Place)
    extractor: str | None = None
    extractor_weights: str | None = None
    extractor_sha256: str | None = None


@dataclass
class Sweep:
    """What ``sweep.py`` takes; values are in ``conf/sweep.yaml``."""

    study: str = MISSING
    runs: str = MISSING
    sampler: str = MISSING
    trials: int | None = None
    metric: str = MISSING
    direction: str = MISSING
    prune: bool = MISSING
    startup_trials: int = MISSING
    warmup_images: int = MISSING
    seed: int = MISSING
    devices: list[Any] = field(default_factory=list)
    train: list[str] = field(default_factory=list)
    space: dict[str, Any] = field(default_factory=dict)


def register() -> None:
    """Put the schemas where the defaults lists of ``conf/*.yaml`` find them."""
    store = ConfigStore.instance()
    schemas = {
        "train": Train, "sample": Sample, "app": App, "evaluate": Evaluate, "sweep": Sweep
    }  # fmt: skip
    for name, schema in schemas.items():
        store.store(name=f"{name}_schema", node=schema)


def override(key: str, value: Any) -> str:
    """Give a setting as it is written on a command line."""
    return f"{key}={'null' if value is None else value}"


def nearest(word: str, known: Any) -> str:
    """Give a hint: the entry of ``known`` nearest to ``word``, or the list of all of them."""
    known = [str(entry) for entry in known]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
