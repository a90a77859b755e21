"""How a trained diffusion model draws images: the settings that a configuration states."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

from functional.reverse_variance import check_variance
from functional.samplers import SAMPLERS, evaluations


class Sampling:
    """How images are drawn.

    Args:
        sampler: a name of ``functional.samplers.SAMPLERS``.
        steps: of the sampler (Heun evaluates the network twice a step).
        spacing: a name of ``functional.time_grid.SPACINGS``.
        clip: hold the estimate of x_0 in [-1, 1].
        eta: noise of DDIM; 0 for the others.
        variance: of ancestral sampling, "fixed_small", "fixed_large" or "learnt".
        churn, churn_min, churn_max, churn_noise: noise that Heun puts back (see
            ``functional.ode_solvers.heun``); churn is 0 for the others, churn_max None for no end.
        guidance: scale of classifier-free guidance, at twice the evaluations; None or 1 is none.
        guidance_rescale: how much of the overexposure is taken back (``functional.guidance``).
    """

    def __init__(
        self,
        sampler: str,
        steps: int,
        spacing: str,
        clip: bool,
        eta: float = 0.0,
        variance: str = "fixed_large",
        churn: float = 0.0,
        churn_min: float = 0.0,
        churn_max: float | None = None,
        churn_noise: float = 1.0,
        guidance: float | None = None,
        guidance_rescale: float = 0.0,
    ) -> None:
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
        _check_amount("eta", eta, sampler)
        _check_amount("churn", churn, sampler)
        check_variance(variance)
        if variance == "learnt" and sampler != "ancestral":
            raise ValueError(
                f"variance 'learnt' with sampler {sampler}, which has no variance to learn; use "
                "sampler=ancestral, or variance=fixed_large"
            )
        self.sampler, self.steps, self.spacing, self.clip = sampler, steps, spacing, clip
        self.eta, self.variance = eta, variance
        self.churn, self.churn_min, self.churn_noise = churn, churn_min, churn_noise
        self.churn_max = math.inf if churn_max is None else churn_max
        self.guidance = 1.0 if guidance is None else guidance
        self.guidance_rescale = guidance_rescale
        if self.guidance < 0 or not 0 <= guidance_rescale <= 1:
            raise ValueError(f"{guidance=}, {guidance_rescale=}; expected 0 or more, and 0 to 1")

    def check(self, learns_variance: bool, num_classes: int, label_dropout: float) -> None:
        """Refuse what the network has not learnt (ValueError): a variance, or to lack a label."""
        if self.guidance != 1 and not (num_classes and label_dropout):
            raise ValueError(
                f"sampling.guidance={self.guidance} pushes estimates away from those without a "
                "label; train with method.network.num_classes=${data.num_classes} and "
                "method.label_dropout=0.1, or leave guidance out"
            )
        if self.variance == "learnt" and not learns_variance:
            raise ValueError(
                "sampling.variance is 'learnt', but the network learns none; train it with "
                "method.objective.variance=learnt, or set sampling.variance=fixed_large"
            )

    @property
    def options(self) -> dict[str, Any]:
        """What the sampler takes beyond the common arguments."""
        return {name: getattr(self, name) for name in _options(self.sampler)}

    @property
    def name(self) -> str:
        """The sampler with all that sets it apart from another of its kind, for a protocol."""
        words = [self.sampler]
        if self.sampler == "ancestral":
            words.append(self.variance)
        if self.churn:
            within = f"in {self.churn_min:g} to {self.churn_max:g}"
            words.append(f"churn {self.churn:g} {within}, noise {self.churn_noise:g}")
        if self.guidance_rescale:
            words.append(f"guidance rescale {self.guidance_rescale:g}")
        return ", ".join(words if self.clip else [*words, "unclipped"])

    def nfe(self, steps: int) -> int:
        """Give the evaluations of the network for one image that takes so many steps."""
        return evaluations(self.sampler, steps) * (1 if self.guidance == 1 else 2)

    def deterministic(self) -> Sampling:
        """Give the same settings for DDIM of eta 0, by which images are encoded and decoded."""
        other = copy.copy(self)
        other.sampler, other.eta, other.churn = "ddim", 0.0, 0.0
        return other

    def record(self) -> dict[str, Any]:
        """Give the fields of the protocol record, and what they stand for."""
        return {
            "sampler": self.name,
            "spacing": self.spacing,
            "nfe": self.nfe(self.steps),
            "eta": self.eta if "eta" in self.options else None,
            "guidance": None if self.guidance == 1 else self.guidance,
        }


def _options(sampler: str) -> list[str]:
    """Give the names of what a sampler takes after the arguments that all share."""
    names = list(inspect.signature(SAMPLERS[sampler]).parameters)
    return names[names.index("trace") + 1 :]


def _check_amount(name: str, amount: float, sampler: str) -> None:
    able = [known for known in SAMPLERS if name in _options(known)]
    if amount < 0 or (amount and sampler not in able):
        raise ValueError(
            f"{name}={amount} with sampler {sampler}; expected 0, or more with {', '.join(able)}"
        )
