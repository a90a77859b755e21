"""FID as a torchmetrics metric: sums only, for sets too large to keep their features."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance

from functional.frechet import frechet_distance
from metrics.extractors import FeatureExtractor
from metrics.reference import ReferenceStatistics


class FrechetDistance(FrechetInceptionDistance):
    """torchmetrics' FID over any feature network, with its trace term in float64.

    uint8 images only, so that no value wraps; float64 sums that stay float64 whatever the
    precision of the run; features that are not finite are refused.

    Args:
        extractor: the feature network.
        kwargs: of ``torchmetrics.Metric``.
    """

    def __init__(self, extractor: FeatureExtractor, **kwargs: Any) -> None:
        super().__init__(
            feature=_FeaturesOnly(extractor), reset_real_features=False, normalize=False, **kwargs
        )
        self.batches = 0
        self._reference: ReferenceStatistics | None = None

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add uint8 images ``(N, C, H, W)`` to the real or the generated side.

        Raises:
            ValueError: for images of another type, or features that are not finite, naming the
                number of the batch.
        """
        features = self.inception(imgs)
        if not torch.isfinite(features).all():
            raise ValueError(f"features of batch {self.batches} are not finite")
        self.batches += 1
        self.orig_dtype = torch.float64
        rows = features.double()
        side = "real" if real else "fake"
        sums = {"sum": rows.sum(dim=0), "cov_sum": rows.T @ rows, "num_samples": len(rows)}
        for name, value in sums.items():
            state = f"{side}_features_{name}"
            setattr(self, state, getattr(self, state) + value)

    def set_reference(self, reference: ReferenceStatistics) -> None:
        """Take the real side from statistics instead of images; it survives ``reset``.

        They are no state: the sum over processes would count them once per process.
        """
        self._reference = reference

    def compute(self) -> Tensor:
        """Give FID, a float64 scalar; warns where either side has no more images than features.

        Raises:
            ValueError: where a side has fewer than two images.
        """
        fake = self._moments("fake")
        if self._reference is not None:
            return frechet_distance(self._reference.mean, self._reference.cov, *fake)
        return frechet_distance(*self._moments("real"), *fake)

    def reset(self) -> None:
        """Forget the generated side."""
        super().reset()
        self.batches = 0

    def set_dtype(self, dst_type: str | torch.dtype) -> FrechetDistance:
        """Stay float64: a covariance in bfloat16 is noise."""
        return self

    def _moments(self, side: str) -> tuple[Tensor, Tensor]:
        n = int(getattr(self, f"{side}_features_num_samples"))
        total = getattr(self, f"{side}_features_sum")
        if n < 2:
            raise ValueError(f"FID needs two {side} images or more, got {n}")
        if n <= len(total):
            warnings.warn(
                f"{n} {side} images with {len(total)} features: singular covariance", stacklevel=3
            )
        mean = total / n
        outer = getattr(self, f"{side}_features_cov_sum")
        return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)


class _FeaturesOnly(nn.Module):
    """The extractor as torchmetrics calls it: images to features, and ``num_features``."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor
        self.num_features = extractor.dim

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.extractor(images).features
        return features
