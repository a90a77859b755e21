"""Metrics of generated images against reference statistics, the same for any number of processes.

Which images are compared: FID takes the moments of the whole reference and of all generated
images. KID draws its subsets from the reference subset and all generated images. Precision,
recall, density and coverage need two sets of one size: the first ``m = min(n generated, reference
subset)`` of each, the reference subset being in random order, so 2,000 generated images meet 2,000
real ones; of plain folders of unequal size the larger gives a random part.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from functional.frechet import factor_of_features, frechet_distance_of_factors
from metrics.draws import Draws, TorchDraws
from metrics.extractors import FeatureExtractor
from metrics.gather import broadcast_result, gather_rows
from metrics.manifold import density_coverage, precision_recall
from metrics.reference import ReferenceStatistics
from metrics.scores import inception_score, kernel_distance

METRICS = ("fid", "kid", "precision", "recall", "density", "coverage", "inception_score")
DEFAULT_METRICS = METRICS[:-1]
FEWEST = {"precision": 4, "recall": 4, "density": 6, "coverage": 6, "inception_score": 10}
"""Images that a metric needs, where that is more than two: a ball reaches to the third or the fifth
neighbour of its centre, and the Inception Score has ten splits."""


class GenerationMetrics:
    """Metrics of generated images: collect with ``update``, then ``compute`` once.

    Features are kept on the CPU (400 MB for 50,000 of 2,048 dimensions). In a distributed job
    every rank updates with its share; ``compute`` gathers them on rank 0 in the order of the image
    indices, so that the values do not depend on the number of processes.

    Args:
        extractor: the feature network.
        metrics: names among ``METRICS``.
        reference: statistics of the reference in this extractor's features.
        seed: of KID's subsets and the Inception Score's splits.
        draws: the way of drawing them.

    Raises:
        ValueError: for an unknown metric, ``inception_score`` without classes, or a reference of
            another extractor, or of moments alone where a metric needs features.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        metrics: Sequence[str] = DEFAULT_METRICS,
        *,
        reference: ReferenceStatistics,
        seed: int = 0,
        draws: Callable[[int], Draws] = TorchDraws,
    ) -> None:
        check_request(metrics, extractor)
        needy = [name for name in metrics if name not in ("fid", "inception_score")]
        if needy and not len(reference.subset):
            raise ValueError(
                f"{needy[0]} needs the reference's images, there are its mean and covariance "
                "alone; ask for metrics=[fid]"
            )
        if reference.extractor_sha256 != extractor.weights_sha256:
            raise ValueError(
                f"the reference statistics were made with weights "
                f"{reference.extractor_sha256[:12]}, the extractor {extractor.name!r} has "
                f"{extractor.weights_sha256[:12]}: compute them with this extractor"
            )
        self.extractor = extractor
        self.metrics = tuple(metrics)
        self.reference = reference
        self.seed, self.draws = seed, draws
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, images: Tensor, indices: Tensor) -> None:
        """Add uint8 images ``(N, C, H, W)``; ``indices`` int64 ``(N,)`` number them in all ranks.

        Raises:
            ValueError: for another type or shape.
        """
        if indices.shape != (len(images),):
            raise ValueError(
                f"{len(images)} images need as many indices, got {tuple(indices.shape)}"
            )
        features, logits = self.extractor(images)
        batch = torch.full((len(images),), len(self._features))
        self._features.append(features.cpu())
        self._labels.append(torch.stack([indices.cpu().long(), batch], dim=1))
        if "inception_score" in self.metrics and logits is not None:
            self._logits.append(logits.cpu())

    def compute(self) -> dict[str, float]:
        """Give the value of every metric, equal on all ranks.

        ``kid`` and ``inception_score`` come with ``kid_std`` and ``inception_score_std``.

        Raises:
            ValueError: on all ranks, for repeated indices, features that are not finite (naming
                the batch), or too few images.
        """
        dim, classes = self.extractor.dim, self.extractor.num_classes or 0
        labels = gather_rows(self._labels, (2,), torch.int64)
        features = gather_rows(self._features, (dim,), torch.float32)
        logits = None
        if "inception_score" in self.metrics:
            logits = gather_rows(self._logits, (classes,), torch.float32)
        return broadcast_result(lambda: self._values(labels, features, logits))

    def _values(self, labels: Tensor, features: Tensor, logits: Tensor | None) -> dict[str, float]:
        order = _checked_order(labels, features)
        features = self._on_device(features[order])
        real = self._on_device(self.reference.subset)
        values: dict[str, float] = {}
        if "fid" in self.metrics:
            values["fid"] = self._fid(features)
        if "kid" in self.metrics:
            kid = kernel_distance(features, real, seed=self.seed, draws=self.draws)
            values |= {"kid": kid.mean, "kid_std": kid.std}
        n, drawn = min(len(features), len(real)), self.draws(self.seed)
        pair = [x[drawn.share(len(x), n).to(x.device)] for x in (features, real)]
        values |= self._pair("precision", "recall", precision_recall, *pair)
        values |= self._pair("density", "coverage", density_coverage, *pair)
        if logits is not None:
            score = inception_score(logits[order], seed=self.seed, draws=self.draws)
            values |= {"inception_score": score.mean, "inception_score_std": score.std}
        return values

    def _fid(self, features: Tensor) -> float:
        n, d = features.shape
        if n <= d:
            warnings.warn(
                f"FID of {n} images with {d} features: no more images than features, so the "
                "covariance is singular and the value far too high",
                stacklevel=2,
            )
        generated = factor_of_features(features)
        return float(frechet_distance_of_factors(self.reference.factor, generated))

    def _pair(
        self,
        first: str,
        second: str,
        function: Callable[[Tensor, Tensor], tuple[float, float]],
        generated: Tensor,
        real: Tensor,
    ) -> dict[str, float]:
        if not {first, second} & set(self.metrics):
            return {}
        values = dict(zip((first, second), function(generated, real), strict=True))
        return {name: value for name, value in values.items() if name in self.metrics}

    def _on_device(self, features: Tensor) -> Tensor:
        cuda = self.extractor.device.type == "cuda"
        return features.to(self.extractor.device) if cuda else features


def check_request(
    metrics: Sequence[str], extractor: FeatureExtractor, n: int | None = None
) -> None:
    """Refuse before any work what could not be measured: ``metrics`` on ``n`` generated images.

    Raises:
        ValueError: for no or an unknown metric, one that the extractor cannot serve, or too few
            images.
    """
    if not metrics:
        raise ValueError(f"no metric given; there are {METRICS}")
    for name in metrics:
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown metric {name!r}{hint}; there are {METRICS}")
    if "inception_score" in metrics and extractor.num_classes is None:
        raise ValueError(
            f"the Inception Score needs class logits, which extractor {extractor.name!r} has not: "
            "leave inception_score out of the metrics"
        )
    fewest = max(FEWEST.get(name, 2) for name in metrics)
    if n is not None and n < fewest:
        raise ValueError(
            f"n={n} images are too few for {', '.join(metrics)}; give {fewest} or more"
        )


def _checked_order(labels: Tensor, features: Tensor) -> Tensor:
    indices, batches = labels.unbind(dim=1)
    if len(indices) < 2:
        raise ValueError(f"metrics need two images or more, got {len(indices)}")
    order = indices.argsort()
    repeated = indices[order][1:] == indices[order][:-1]
    if repeated.any():
        raise ValueError(f"image {int(indices[order][1:][repeated][0])} was given more than once")
    bad = ~torch.isfinite(features).all(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"features of batch {int(batches[row])} (image {int(indices[row])}) are not finite: "
            f"{int(bad.sum())} of {len(bad)} images"
        )
    return order
