"""How a denoising autoencoder makes images from noise: the settings, by the sampler's name."""

from __future__ import annotations

from typing import Any

SAMPLERS = ("walkback", "langevin", "codes")
LABELS = {
    "walkback": "walkback (Bengio et al. 2013), P(x | corrupted x) sampled",
    "langevin": "annealed Langevin, consistent, NCSN-like",
    "codes": "mixture of Gaussians on codes, not claimed by the paper",
}


class ChainSampling:
    """Settings of sampling.

    Args:
        sampler: "walkback", "langevin", "codes", or None: nothing is sampled.
        steps: sweeps of walkback, or noise levels of Langevin.
        repeats: Langevin steps at each level.
        step_size: of Langevin, as a share of the way to the estimate, in (0, 1].
        components: Gaussians of the mixture on codes.

    Raises:
        ValueError: for a sampler that is not known, or a number out of its range.
    """

    def __init__(
        self,
        sampler: str | None,
        steps: int,
        repeats: int,
        step_size: float,
        components: int,
    ) -> None:
        if sampler is not None and sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
        if min(steps, repeats, components) < 1 or not 0 < step_size <= 1:
            raise ValueError(
                f"{steps=}, {repeats=}, {components=}, {step_size=}: expected 1 or more, and a "
                "step size in (0, 1]"
            )
        self.sampler, self.steps, self.repeats = sampler, steps, repeats
        self.step_size, self.components = step_size, components

    def record(self) -> dict[str, Any]:
        """Give the fields of the protocol record."""
        if self.sampler is None:
            return {}
        evaluations = {"walkback": self.steps, "langevin": self.steps * self.repeats}
        own = {
            "langevin": f", {self.repeats} steps of {self.step_size:g} a level",
            "codes": f", {self.components} components",
        }
        return {
            "sampler": LABELS[self.sampler] + own.get(self.sampler, ""),
            "nfe": evaluations.get(self.sampler, 1),
        }
