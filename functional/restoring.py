"""How a trained diffusion model restores images: the settings that a configuration states."""

from __future__ import annotations

from typing import Any

from functional.zero_shot import RESTORERS, restorer_options


class Restoring:
    """How images are restored.

    Args:
        restorer: a name of ``functional.zero_shot.RESTORERS``.
        steps: from noise to image; fewer where only noise is to be taken away.
        spacing: a name of ``functional.time_grid.SPACINGS``.
        jump, resamples: steps gone back at once, and how often a stretch is gone down, by
            ``repaint`` and ``ddnm``; resamples 1 never goes back.
        scale: of ``dps``.
        eta: of the chain of ``pigdm``.
        data_std: of the images, for ``pigdm``.
        clip: hold what ``pigdm`` estimates in [-1, 1].

    Raises:
        ValueError: for an unknown restorer, or a number out of its range.
    """

    def __init__(
        self,
        restorer: str = "ddnm",
        steps: int = 50,
        spacing: str = "trailing",
        jump: int = 5,
        resamples: int = 4,
        scale: float = 0.25,
        eta: float = 1.0,
        data_std: float = 0.5,
        clip: bool = True,
    ) -> None:
        if restorer not in RESTORERS:
            raise ValueError(f"unknown restorer {restorer!r}; known: {', '.join(RESTORERS)}")
        if min(steps, jump, resamples) < 1 or min(scale, eta) < 0 or not data_std > 0:
            raise ValueError(
                f"{steps=}, {jump=}, {resamples=}, {scale=}, {eta=}, {data_std=}: expected counts "
                "of 1 or more, a scale and an eta of 0 or more, and a data_std above 0"
            )
        self.restorer, self.steps, self.spacing = restorer, steps, spacing
        self.jump, self.resamples = jump, resamples
        self.scale, self.eta, self.data_std, self.clip = scale, eta, data_std, clip

    @property
    def options(self) -> dict[str, Any]:
        """What the restorer takes beyond the common arguments."""
        return {name: getattr(self, name) for name in restorer_options(self.restorer)}

    @property
    def name(self) -> str:
        """The restorer with all that sets it apart from another of its kind, for a protocol."""
        told = [f"{name} {value:g}" for name, value in self.options.items() if name != "clip"]
        told += ["unclipped"] if self.options.get("clip") is False else []
        steps = [] if self.restorer == "estimate" else [f"{self.steps} steps"]
        return ", ".join([self.restorer, *steps, *told])
