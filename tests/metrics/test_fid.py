from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from functional.frechet import frechet_distance_of_features
from metrics.extractors import build_extractor
from metrics.fid import FrechetDistance
from metrics.reference import ReferenceStatistics
from tests.metrics.stand_ins import Projection, draw


def filled(metric: FrechetDistance) -> FrechetDistance:
    for batch in draw(600, 1).split(100):
        metric.update(batch, real=True)
    for batch in draw(400, 2, spread=200).split(150):
        metric.update(batch, real=False)
    return metric


def test_running_sums_equal_the_distance_of_all_features(projection: Projection) -> None:
    fake, real = (projection(x).features for x in (draw(400, 2, spread=200), draw(600, 1)))
    value = filled(FrechetDistance(projection)).compute()
    torch.testing.assert_close(value, frechet_distance_of_features(fake, real), rtol=1e-8, atol=0)


def test_reference_statistics_stand_for_the_real_images_and_survive_reset(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    metric = FrechetDistance(projection)
    metric.set_reference(reference)
    expected = filled(FrechetDistance(projection)).compute()
    for _ in range(2):
        metric.update(draw(400, 2, spread=200), real=False)
        torch.testing.assert_close(metric.compute(), expected, rtol=1e-9, atol=0)
        metric.reset()


def test_sums_stay_float64_in_a_run_of_low_precision(projection: Projection) -> None:
    expected = filled(FrechetDistance(projection)).compute()
    metric = filled(FrechetDistance(projection).set_dtype(torch.bfloat16).half())
    assert metric.fake_features_cov_sum.dtype == torch.float64
    assert torch.equal(metric.compute(), expected)


def test_features_that_are_not_finite_name_their_batch(projection: Projection) -> None:
    metric = FrechetDistance(projection)
    metric.update(draw(20, 1), real=True)
    projection.network.weight.data[0] = float("nan")
    with pytest.raises(ValueError, match="batch 1 are not finite"):
        metric.update(draw(20, 2), real=False)


def test_floats_are_refused_and_few_images_warn(projection: Projection) -> None:
    metric = FrechetDistance(projection)
    with pytest.raises(ValueError, match="must be uint8"):
        metric.update(torch.rand(4, 1, 4, 4), real=True)
    metric.update(draw(20, 1), real=True)
    with pytest.raises(ValueError, match="two fake images or more, got 0"):
        metric.compute()
    metric.update(draw(5, 2), real=False)
    with pytest.warns(UserWarning, match="5 fake images with 6 features"):
        metric.compute()


class Images(torch.utils.data.Dataset[Any]):
    def __init__(self, n: int, seed: int, contrast: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(n, 3, 5, 5, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
        self.images = (128 + contrast * smooth).clamp(0, 255).round().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def test_fid_equals_torch_fidelity_on_the_same_images_and_inception_weights(
    inception_weights: Path,
) -> None:
    fidelity = pytest.importorskip("torch_fidelity")
    fake, real = Images(6, 1, 40.0), Images(8, 2, 60.0)
    expected = fidelity.calculate_metrics(
        input1=fake,
        input2=real,
        fid=True,
        feature_extractor_weights_path=str(inception_weights),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        batch_size=8,
        verbose=False,
    )["frechet_inception_distance"]
    extractor = build_extractor("inception", str(inception_weights))
    value = frechet_distance_of_features(
        extractor(fake.images).features, extractor(real.images).features
    )
    assert expected > 0.01
    assert float(value) == pytest.approx(expected, rel=1e-5)
