"""How a trained diffusion model draws images: the settings that a configuration states."""

from __future__ import annotations

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
    """

    def __init__(
        self,
        sampler: str,
        steps: int,
        spacing: str,
        clip: bool,
        eta: float = 0.0,
        variance: str = "fixed_large",
    ) -> None:
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
        if eta < 0 or (eta and sampler != "ddim"):
            raise ValueError(f"eta={eta} with sampler {sampler}; expected 0, or more with ddim")
        check_variance(variance)
        if variance == "learnt" and sampler != "ancestral":
            raise ValueError(
                f"variance 'learnt' with sampler {sampler}, which has no variance to learn; use "
                "sampler=ancestral, or variance=fixed_large"
            )
        self.sampler, self.steps, self.spacing, self.clip = sampler, steps, spacing, clip
        self.eta, self.variance = eta, variance

    def check(self, learns_variance: bool) -> None:
        """Refuse a learnt variance of a network that learns none (ValueError)."""
        if self.variance == "learnt" and not learns_variance:
            raise ValueError(
                "sampling.variance is 'learnt', but the network learns none; train it with "
                "method.objective.variance=learnt, or set sampling.variance=fixed_large"
            )

    @property
    def options(self) -> dict[str, Any]:
        """What the sampler takes beyond the common arguments."""
        own: dict[str, dict[str, Any]] = {
            "ddim": {"eta": self.eta},
            "ancestral": {"variance": self.variance},
        }
        return own.get(self.sampler, {})

    def record(self) -> dict[str, Any]:
        """Give the fields of the protocol record."""
        return {
            "sampler": self.sampler,
            "spacing": self.spacing,
            "nfe": evaluations(self.sampler, self.steps),
            "clip": self.clip,
            **self.options,
        }
