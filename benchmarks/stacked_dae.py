"""Does pre-training help? Error with and without it, with many labels and few, then and now.

``python benchmarks/stacked_dae.py [--labels N ...] [--seeds N] [--share S] [--results FILE.json]``

On the whole of Fashion-MNIST, three layers of 300 units. Three styles: sigmoid units, cross-entropy
and plain gradient descent as Vincent et al. (2010), with their initial weights or with those that
Glorot & Bengio (2010) found for sigmoid units; or rectified units, squared error and Adam.
Three beginnings: none, a stack of plain autoencoders, a stack of denoising ones; these see all
training images, without labels. Each beginning has the same number of images with labels and the
same three learning rates to choose from, by the error on validation images with the first seed, and
goes on to larger ones as long as the largest tried is the best; the rate of pre-training is chosen
likewise, by the validation loss of the first layer. ``--share`` trains all of
them on a share of the images; a file of results holds runs of one share, and runs that it has are
not repeated. Writes ``stacked_dae_table.md`` and ``stacked_dae.png`` to ``--docs``.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment  # noqa: E402
from config import register  # noqa: E402

State = dict[str, Any]
UNITS, LAYERS, BATCH = 300, 3, 100
PRETRAIN_IMAGES = 110_000
"""For each layer: twice the training images."""
FINETUNE_IMAGES = {1_000: 60_000, 10_000: 120_000, 55_000: 275_000}
"""By the number of labels."""
COMMON = [
    "method=sdae", "data=fashion_mnist", f"data.batch_size={BATCH}", "callbacks=none",
    "logger=none", "trainer.precision=32-true", f"method.network.widths={[UNITS] * LAYERS}",
]  # fmt: skip
OLD = [
    "method.network.activation=sigmoid", "method.loss=bce",
    "optimizer@method.optimizer=sgd", "method.decay=constant",
]  # fmt: skip
STYLES: dict[str, tuple[list[str], list[float], list[float]]] = {
    "sigmoid, 2010": (
        [*OLD, "method.network.initialisation=vincent"], [0.01, 0.03, 0.1], [0.3, 1.0, 3.0],
    ),
    "sigmoid, Glorot": (
        [*OLD, "method.network.initialisation=glorot"], [0.01, 0.03, 0.1], [0.1, 0.3, 1.0],
    ),
    "ReLU, Adam": (
        ["method.network.activation=relu", "method.loss=mse", "method.decay=cosine"],
        [0.001, 0.003, 0.01],
        [0.0003, 0.001, 0.003],
    ),
}  # fmt: skip
"""By name: settings, learning rates of pre-training, learning rates with labels."""
BEGINNINGS: dict[str, float | None] = {"none": None, "plain": 0.0, "denoising": 0.25}
"""The share of each layer's input that is masked."""


class Results:
    """Scores by name, kept in a file as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores: dict[str, dict[str, float]] = {}
        if path.is_file():
            self.scores = json.loads(path.read_text())

    def get(self, name: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Give the scores of ``name``, measured where they are not known."""
        if name not in self.scores:
            self.scores[name] = measure()
            self.path.write_text(json.dumps(self.scores, indent=1))
            print(name, self.scores[name], flush=True)
        return self.scores[name]


class Trained(NamedTuple):
    """A trained method and what was logged last, by key."""

    module: Any
    scores: dict[str, float]


def train(
    images: int, seed: int, overrides: list[str], state: State | None = None, test: bool = False
) -> Trained:
    """Give what is there after training from ``state`` on ``images`` images, tested if asked."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*COMMON, *overrides, f"seed={seed}", f"budget.images={images}"])
    cfg.validate_every_images = images
    with tempfile.TemporaryDirectory() as folder:
        built = experiment.build(experiment.check(cfg), Path(folder), "benchmark")
        if state is not None:
            built.module.network.load_state_dict(state)  # type: ignore[operator, union-attr]
        built.trainer.fit(built.module, datamodule=built.data)
        scores = dict(built.trainer.callback_metrics)
        if test:
            built.trainer.test(built.module, datamodule=built.data, verbose=False)
            scores |= built.trainer.callback_metrics
    return Trained(built.module, {key: float(value) for key, value in scores.items()})


def best_rate(rates: Sequence[float], loss: Callable[[float], float]) -> float:
    """Give the rate of least loss, going on beyond the largest as long as that is the best."""
    losses = {rate: loss(rate) for rate in rates}
    while (best := min(losses, key=lambda rate: losses[rate])) == max(losses):
        losses[higher(best)] = loss(higher(best))
    return best


def higher(rate: float) -> float:
    """Give the next of 0.1, 0.3, 1, 3, 10 and so on."""
    return float(f"{rate * (3 if f'{rate:.0e}'[0] == '1' else 10 / 3):.0e}")


def whole_batches(images: float) -> int:
    """Give ``images`` rounded to whole batches, one at least."""
    return BATCH * max(1, round(images / BATCH))


class Style:
    """One style's runs."""

    def __init__(self, name: str, results: Results, seeds: Sequence[int], share: float) -> None:
        self.name, self.results, self.seeds = name, results, seeds
        self.pretrain_images = whole_batches(share * PRETRAIN_IMAGES)
        self.finetune_images = {n: whole_batches(share * m) for n, m in FINETUNE_IMAGES.items()}
        self.settings, self.pretrain_rates, self.rates = STYLES[name]
        self.states: dict[tuple[str, int], State | None] = {}

    def pretraining(self, beginning: str, images: int, rate: float) -> list[str]:
        """Give the settings of pre-training each layer on ``images`` images."""
        return [
            *self.settings, f"method.corruption.ratio={BEGINNINGS[beginning]}",
            f"method.pretrain_images={images}", f"method.pretrain_lr={rate}",
        ]  # fmt: skip

    def pretrain_rate(self, beginning: str) -> float:
        """Give the rate whose first layer has the lowest loss on validation images."""

        def loss(rate: float) -> dict[str, float]:
            images = whole_batches(self.pretrain_images / LAYERS)
            trained = train(images, self.seeds[0], self.pretraining(beginning, images, rate))
            return {"loss": trained.scores["val/reconstruction_1"]}

        name = f"{self.name} | {beginning} | layer 1"
        return best_rate(
            self.pretrain_rates,
            lambda rate: self.results.get(f"{name} | {rate}", partial(loss, rate))["loss"],
        )

    def state(self, beginning: str, seed: int) -> State | None:
        """Give the weights that the labels begin from; None for random ones."""
        if BEGINNINGS[beginning] is None:
            return None
        if (beginning, seed) not in self.states:
            rate = self.pretrain_rate(beginning)
            settings = self.pretraining(beginning, self.pretrain_images, rate)
            trained = train(LAYERS * self.pretrain_images, seed, settings)
            self.states[beginning, seed] = trained.module.network.state_dict()
        return self.states[beginning, seed]

    def error(self, beginning: str, labels: int, rate: float, seed: int) -> dict[str, float]:
        """Give the errors in per cent on validation and test images."""

        def measure() -> dict[str, float]:
            few = "null" if labels == max(FINETUNE_IMAGES) else labels
            settings = [
                *self.settings, "method.pretrain_images=0", f"method.optimizer.lr={rate}",
                f"method.labels={few}", f"method.labels_seed={seed}",
            ]  # fmt: skip
            begun = self.state(beginning, seed)
            scores = train(self.finetune_images[labels], seed, settings, begun, test=True).scores
            return {split: scores[f"{split}/error"] for split in ("val", "test")}

        begun = "" if BEGINNINGS[beginning] is None else f" {self.pretrain_rate(beginning)}"
        name = f"{self.name} | {beginning}{begun} | {labels} | {rate} | {seed}"
        return self.results.get(name, measure)

    def cell(self, beginning: str, labels: int) -> tuple[float, float, float]:
        """Give mean and deviation of the test error over seeds, and the rate that was chosen."""
        rate = best_rate(
            self.rates, lambda rate: self.error(beginning, labels, rate, self.seeds[0])["val"]
        )
        errors = [self.error(beginning, labels, rate, seed)["test"] for seed in self.seeds]
        spread = statistics.stdev(errors) if len(errors) > 1 else float("nan")
        return statistics.mean(errors), spread, rate


def report(
    cells: dict[tuple[str, str, int], tuple[float, float, float]],
    counts: Sequence[int],
    folder: Path,
) -> str:
    """Write the chart of all ``counts`` of labels; give the table as Markdown."""
    rows = ["| units | pre-training | " + " | ".join(f"{n:,} labels" for n in counts) + " |"]
    rows.append("|---|---|" + "---|" * len(counts))
    for style in STYLES:
        for beginning in BEGINNINGS:
            found = [text(cells[style, beginning, labels]) for labels in counts]
            rows.append(f"| {style} | {beginning} | " + " | ".join(found) + " |")
    draw(cells, counts, folder / "stacked_dae.png")
    return "\n".join(rows)


def draw(
    cells: dict[tuple[str, str, int], tuple[float, float, float]],
    counts: Sequence[int],
    path: Path,
) -> None:
    """Write the chart: a panel for each style, a line for each beginning."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, len(STYLES), sharey=True)
    for axes, style in zip(panels, STYLES, strict=True):
        for beginning in BEGINNINGS:
            means, spreads, _ = zip(*(cells[style, beginning, n] for n in counts), strict=True)
            axes.errorbar(counts, means, spreads, marker="o", capsize=3, label=beginning)
        axes.set(title=style, xlabel="labels", xscale="log", yscale="log")
        axes.set_xticks(list(counts), [f"{n:,}" for n in counts], minor=False)
        axes.set_yticks([10, 15, 20, 30, 50], ["10", "15", "20", "30", "50"])
        axes.minorticks_off()
    panels[0].set_ylabel("test error, per cent")
    panels[-1].legend(title="pre-training")
    figure.savefig(path, dpi=110)


def text(found: tuple[float, float, float]) -> str:
    """Give the mean, the deviation where there is one, and the learning rate."""
    mean, spread, rate = found
    return f"{mean:.2f}" + (f" ± {spread:.2f}" if spread == spread else "") + f" ({rate:g})"


def main() -> None:
    """Measure, print the table, write it and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--labels", type=int, nargs="+", default=list(FINETUNE_IMAGES), choices=FINETUNE_IMAGES
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=Path("stacked_dae.json"))
    parser.add_argument("--docs", type=Path, default=Path("."))
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    results, cells = Results(arguments.results), {}
    for name in STYLES:
        style = Style(name, results, range(arguments.seeds), arguments.share)
        for beginning in BEGINNINGS:
            for labels in arguments.labels:
                cells[name, beginning, labels] = style.cell(beginning, labels)
    table = report(cells, arguments.labels, arguments.docs)
    (arguments.docs / "stacked_dae_table.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")
    main()
