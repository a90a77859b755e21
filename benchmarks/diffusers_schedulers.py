"""The schedulers of diffusers, and our samplers, on data whose exact law is known.

``python benchmarks/diffusers_schedulers.py docs/diffusers_schedulers.md``: the best denoiser of a
mixture of two Gaussians in the network's place, so that whatever error is left is the scheduler's.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from functional.diffusion import target, to_eps
from functional.noise_schedule import (
    LinearPath,
    NoiseSchedule,
    VarianceExploding,
    VariancePreserving,
)
from functional.oracle import BestDenoiser, Mixture
from functional.samplers import SAMPLERS, evaluations
from functional.time_grid import time_grid

DATA = Mixture(
    torch.tensor([0.3, 0.7]), torch.tensor([-0.6, 0.5]).view(2, 1, 1, 1), torch.tensor([0.1, 0.2])
)
CHAIN = VariancePreserving(1000)
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
STEPS = (10, 30, 100, 300)
IMAGES = 2000
FAILS = 0.03
"""Distance at 300 steps: a first-order method with new noise in every step stays below 0.015."""
NOISE = 0.02
"""Images drawn with new noise are off by chance, but by less: about 0.53 / 2000^0.5 = 0.012."""


class Case(NamedTuple):
    """A scheduler under one setting: ``predicts`` is eps, v, edm or velocity."""

    scheduler: str
    settings: dict[str, Any]
    predicts: str = "eps"


SPACED = [{"timestep_spacing": spacing} for spacing in ("leading", "linspace", "trailing")]
KARRAS = [{"use_karras_sigmas": True}]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "DDPM": [
        {**spaced, "variance_type": kind, "clip_sample": False}
        for kind in ("fixed_small", "fixed_large")
        for spaced in SPACED
    ],
    "DDIM": [{**spaced, "clip_sample": False} for spaced in SPACED],
    "PNDM": [{**spaced, "skip_prk_steps": skip} for skip in (False, True) for spaced in SPACED],
    "DEISMultistep": SPACED + KARRAS,
    "UniPCMultistep": SPACED + KARRAS,
    "DPMSolverMultistep": [
        {**rest, "algorithm_type": kind}
        for kind in ("dpmsolver++", "sde-dpmsolver++")
        for rest in SPACED + KARRAS
    ],
    "DPMSolverSinglestep": [{}, *KARRAS],
    "SASolver": SPACED + KARRAS,
    "EulerDiscrete": SPACED + KARRAS,
    "EulerAncestralDiscrete": SPACED,
    "HeunDiscrete": SPACED + KARRAS,
    "KDPM2Discrete": SPACED + KARRAS,
    "KDPM2AncestralDiscrete": SPACED + KARRAS,
    "LMSDiscrete": SPACED + KARRAS,
}
CASES = [
    *(
        Case(name, {**BETAS, "num_train_timesteps": 1000, **chosen})
        for name, many in OPTIONS.items()
        for chosen in many
    ),
    *(Case(f"EDM{name}", {}, "edm") for name in ("Euler", "DPMSolverMultistep")),
    *(Case(f"FlowMatch{name}Discrete", {}, "velocity") for name in ("Euler", "Heun")),
]
SCHEDULES: dict[str, NoiseSchedule] = {
    "eps": CHAIN, "edm": VarianceExploding(), "velocity": LinearPath()
}  # fmt: skip


def network(predicts: str) -> Callable[[Tensor, float], Tensor]:
    """Give the output of the best network for what diffusers hands to one, at its ``t``."""
    levels = _ratio_of_chain()

    def output(given: Tensor, t: float) -> Tensor:
        given = given.double()
        if predicts == "velocity":
            alpha, sigma = 1 - t / 1000, t / 1000
        elif predicts == "edm":
            alpha, sigma = 1.0, float(torch.exp(torch.tensor(4 * t)))
            given = given * (sigma**2 + 0.25) ** 0.5
        else:
            # A network asked between two steps of its chain stands between their levels.
            below = min(int(t), 998)
            ratio = float(torch.lerp(levels[below], levels[below + 1], t - below).exp())
            alpha, sigma = (1 + ratio**2) ** -0.5, ratio * (1 + ratio**2) ** -0.5
        a, s = (torch.tensor(v, dtype=torch.float64) for v in (alpha, sigma))
        x0 = DATA.denoise(given, a, s)
        return target(predicts, x0, to_eps(given, x0, a, s), a, s)

    return output


def _ratio_of_chain() -> Tensor:
    bar = CHAIN.alpha_bar[1:]
    return torch.log((1 - bar) / bar) / 2


def start() -> Tensor:
    """Give one number at each of equal shares of the normal distribution, in mixed order."""
    p = (torch.arange(IMAGES, dtype=torch.float64) + 0.5) / IMAGES
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    return torch.special.ndtri(p)[order].view(-1, 1, 1, 1)


def distance(images: Tensor) -> float:
    """Give the Wasserstein-1 distance of images from the data."""
    p = (torch.arange(IMAGES, dtype=torch.float64) + 0.5) / IMAGES
    return float((images.double().flatten().sort().values - DATA.quantile(p)).abs().mean())


def theirs(case: Case, steps: int) -> tuple[float, int]:
    """Give the distance and the evaluations of a scheduler of diffusers."""
    module = importlib.import_module("diffusers")
    scheduler = getattr(module, f"{case.scheduler}Scheduler")(**case.settings)
    scheduler.set_timesteps(steps)
    output = network(case.predicts)
    spread = getattr(scheduler, "init_noise_sigma", 1.0)
    x, calls = float(spread) * start(), 0
    generator = torch.Generator().manual_seed(1)
    takes = scheduler.step.__code__.co_varnames[: scheduler.step.__code__.co_argcount]
    extra = {"generator": generator} if "generator" in takes else {}
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(output(given, float(t)), t, x, **extra).prev_sample
        calls += 1
    return distance(x), calls


def ours(sampler: str, schedule: NoiseSchedule, steps: int, spacing: str) -> tuple[float, int]:
    """Give the distance and the evaluations of a sampler of this repository."""
    generator = torch.Generator().manual_seed(1)
    times = time_grid(schedule, steps, spacing)
    x = SAMPLERS[sampler](
        BestDenoiser(DATA, schedule), schedule.prior_std * start(), times, schedule,
        lambda *shape: torch.randn(IMAGES, *shape, generator=generator, dtype=torch.float64),
    )  # fmt: skip
    return distance(x), evaluations(sampler, steps)


def measured(run: Callable[[int], tuple[float, int]]) -> tuple[list[str], str]:
    """Give the cells of the distances at ``STEPS`` steps, and the verdict."""
    values: list[float] = []
    try:
        for steps in STEPS:
            values.append(run(steps)[0])
    except Exception as error:
        what = str(error).splitlines()[0][:80]
        cells = [f"{v:.4f}" for v in values] + ["-"] * (len(STEPS) - len(values))
        return cells, f"**fails**: {type(error).__name__}: {what}"
    cells = [f"{v:.4f}" for v in values]
    last = values[-1]
    if not last < float("inf"):
        return cells, "**fails**: not finite"
    if last > FAILS:
        return cells, f"**fails**: {last:.3f} away after {STEPS[-1]} steps"
    if last > 1.5 * min(values) and last > NOISE:
        return cells, "**fails**: more steps make it worse"
    return cells, ""


def rows() -> Iterator[tuple[str, str, list[str], str]]:
    """Yield name, settings, cells and verdict of every case."""
    for name in SAMPLERS:
        for label, schedule in SCHEDULES.items():
            for spacing in ("trailing", "karras") if label != "edm" else ("karras",):
                run = lambda k, n=name, s=schedule, g=spacing: ours(n, s, k, g)  # noqa: E731
                yield f"ours: {name}", f"{type(schedule).__name__}, {spacing}", *measured(run)
    for case in CASES:
        shown = {k: v for k, v in case.settings.items() if k not in BETAS and k[:4] != "num_"}
        text = ", ".join(f"{k}={v}" for k, v in shown.items()) or "as it comes"
        yield case.scheduler, text, *measured(lambda k, c=case: theirs(c, k))


def report(found: list[tuple[str, str, list[str], str]]) -> str:
    """Give the page."""
    lines = [HEAD.format(diffusers.__version__, torch.__version__, IMAGES, FAILS)]
    lines.append("| scheduler | settings | " + " | ".join(f"{k} steps" for k in STEPS) + " | |")
    lines.append("|---" * (len(STEPS) + 3) + "|")
    lines += [f"| {n} | {s} | {' | '.join(c)} | {v} |" for n, s, c, v in found]
    failed = [row for row in found if row[3]]
    theirs_failed = [row for row in failed if not row[0].startswith("ours")]
    count = len([row for row in found if not row[0].startswith("ours")])
    lines += ["", f"{len(theirs_failed)} of {count} settings of diffusers fail, and "]
    lines[-1] += f"{len(failed) - len(theirs_failed)} of {len(found) - count} of ours."
    return "\n".join(lines) + "\n"


HEAD = """# Schedulers on data that are known

Made by `python benchmarks/diffusers_schedulers.py` with diffusers {}, torch {}.

Images are one number each, from 0.3 N(-0.6, 0.1^2) + 0.7 N(0.5, 0.2^2); in the network's place is
their best denoiser, which predicts eps on the linear chain of 1,000 steps of Ho et al. (2020),
EDM's preconditioned image, or the velocity of the linear path. Shown is the Wasserstein-1 distance
of {} images from the data, whose own standard deviation is 0.53. What converges comes near 0: a
setting fails where it raises, is not finite, is more than {} away after the most steps, or gets
worse with more of them by more than chance. Heun's and KDPM2's methods evaluate twice a step.
"""


def main() -> None:
    """Measure everything, and write the page or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, help="the Markdown file to write")
    page = parser.parse_args().page
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    text = report(list(rows()))
    if page:
        page.write_text(text)
        print(f"wrote {page}")
    else:
        print(text)


if __name__ == "__main__":
    main()
