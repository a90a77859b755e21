"""Everything that a diffusion model can be trained to do, as settings of the tiny one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functional.importance_times import ImportanceTimes
from functional.noise_schedule import VarianceExploding, VariancePreserving
from functional.objective import Objective
from functional.pairing import OptimalTransport
from functional.sampling import Sampling
from functional.time_sampling import TimeSampler
from lightning_modules.ddpm import DDPM
from tests.lightning_modules.tiny import ddpm, unet

CHAIN = VariancePreserving(20, "cosine")
BINS = 4


def learnt(loss: str) -> dict[str, Any]:
    """A chain whose variance is learnt, by the loss of that name."""
    return {
        "network": unet(out_channels=2),
        "schedule": CHAIN,
        "prediction": "eps",
        "objective": Objective(loss, variance="learnt"),
        "sampling": Sampling("ancestral", 3, "trailing", clip=True, variance="learnt"),
    }


# Made anew for each model, since networks and times hold what is learnt.
OBJECTIVES: dict[str, Callable[[], dict[str, Any]]] = {
    "eps, important times, offset noise": lambda: {
        "schedule": CHAIN, "prediction": "eps", "times": ImportanceTimes(BINS, history=2),
        "offset_noise": 0.1,
    },
    "x0 by the bound, self-conditioned": lambda: {
        "network": unet(in_channels=2), "self_conditioning": 0.5,
        "schedule": CHAIN, "prediction": "x0", "objective": Objective("bound"),
    },
    "v, weighted, labels left out": lambda: {
        "network": unet(num_classes=2), "label_dropout": 0.5,
        "schedule": VariancePreserving(20, "sigmoid"), "prediction": "v",
        "objective": Objective(weighting="min_snr"),
    },
    "variance learnt by the hybrid": lambda: learnt("hybrid"),
    "variance learnt by the bound": lambda: learnt("bound"),
    "edm": lambda: {
        "schedule": VarianceExploding(), "prediction": "edm",
        "times": TimeSampler("logit_normal", mean=-1.2, std=1.2, stratified=True),
    },
    "flow of paired noise": lambda: {"pairing": OptimalTransport()},
}  # fmt: skip
IMPORTANT = next(iter(OBJECTIVES))


def objective(name: str) -> DDPM:
    """Give the tiny model of that objective, the same every time."""
    return ddpm(**OBJECTIVES[name]()).train()
