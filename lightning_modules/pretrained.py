"""The model of another run as a part of a method."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from lightning_modules.base import ImageModule

CHECKPOINTS, WEIGHTS = ("best", "last"), ("ema", "raw")


class Pretrained:
    """Which model a method starts from, and the run whose weights it begins with.

    A setting of this type may be given as a run folder: ``method.encoder=runs/NAME`` becomes this
    node, with the run's own ``method`` as ``model``, before anything is built. So the configuration
    of the new run rebuilds the model without the old one. The method holds ``model`` as a
    sub-module of the setting's name (``encoder``), into which the weights are loaded once.

    Args:
        model: the method, as its run's ``config.yaml`` describes it; its weights are random.
        run: the folder of the run, or None: the weights stay random.
        checkpoint: "best" or "last" of the run.
        weights: "ema" or "raw"; a run that kept no average has raw ones only.

    Raises:
        ValueError: for another checkpoint or other weights.
    """

    def __init__(
        self,
        model: ImageModule,
        run: str | None = None,
        checkpoint: str = "best",
        weights: str = "ema",
    ) -> None:
        for value, known in ((checkpoint, CHECKPOINTS), (weights, WEIGHTS)):
            if value not in known:
                near = difflib.get_close_matches(str(value), known, n=1) or list(known)
                raise ValueError(f"{value!r} names no weights of a run; use {' or '.join(near)}")
        self.model, self.run, self.checkpoint, self.weights = model, run, checkpoint, weights

    @property
    def trained(self) -> bool:
        """Whether the model begins with trained weights: a run's, or a file's that it names."""
        return self.run is not None or bool(getattr(self.model, "initial_weights", None))

    @property
    def origin(self) -> str:
        """What the model is called in messages."""
        return self.run or f"an untrained {type(self.model).__name__}"

    def require_features(self, settings: Mapping[str, Any] | None = None) -> ImageModule:
        """Give the model, with ``settings`` of how its features are read in place of its own.

        Raises:
            ValueError: where it has no features, or no such setting.
        """
        if "features" not in self.model.capabilities:
            can = ", ".join(sorted(self.model.capabilities)) or "nothing"
            raise ValueError(
                f"{type(self.model).__name__} of {self.origin} has no features to probe (it has: "
                f"{can}); give the run of a method that has, such as a masked autoencoder's"
            )
        known = getattr(self.model, "feature_settings", ())
        for name, value in (settings or {}).items():
            if name not in known:
                raise ValueError(
                    f"feature_settings.{name}={value}: {type(self.model).__name__} of "
                    f"{self.origin} has the settings: {', '.join(known) or 'none'}"
                )
            setattr(self.model, name, value)
        return self.model
