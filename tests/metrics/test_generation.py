from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from functional.frechet import frechet_distance_of_features, moments
from metrics.extractors import build_extractor
from metrics.generation import METRICS, GenerationMetrics
from metrics.manifold import density_coverage, precision_recall
from metrics.reference import ReferenceStatistics, reference_statistics
from metrics.scores import inception_score, kernel_distance
from tests.metrics.stand_ins import Projection, draw


def score(
    metrics: GenerationMetrics, images: Tensor, batch_size: int = 100, order: Tensor | None = None
) -> dict[str, float]:
    order = torch.arange(len(images)) if order is None else order
    metrics.reset()
    for indices in order.split(batch_size):
        metrics.update(images[indices], indices)
    return metrics.compute()


def test_every_metric_is_that_of_its_function_on_the_stated_sets(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    images = draw(400, 2, spread=200)
    features, logits = projection(images)
    values = score(GenerationMetrics(projection, METRICS, reference=reference, seed=3), images)
    real = projection(draw(600, 1)).features
    fid = float(frechet_distance_of_features(features, real))
    assert fid > 0.01
    assert values["fid"] == pytest.approx(fid, rel=1e-9)
    kid = kernel_distance(features, reference.subset, seed=3)
    assert (values["kid"], values["kid_std"]) == (kid.mean, kid.std)
    pair = precision_recall(features, reference.subset[:400])
    assert (values["precision"], values["recall"]) == pair
    pair = density_coverage(features, reference.subset[:400])
    assert (values["density"], values["coverage"]) == pair
    assert logits is not None
    assert values["inception_score"] == inception_score(logits, seed=3).mean


def test_values_do_not_depend_on_batches_or_their_order(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    metrics = GenerationMetrics(projection, METRICS, reference=reference)
    images = draw(300, 2)
    expected = score(metrics, images)
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert score(metrics, images, 64, shuffled) == pytest.approx(expected, rel=1e-6)


def test_only_the_asked_metrics_are_computed(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    metrics = GenerationMetrics(projection, ["recall", "fid"], reference=reference)
    assert set(score(metrics, draw(100, 2))) == {"recall", "fid"}


def test_fewer_images_than_features_warn_and_take_the_exact_form(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    metrics = GenerationMetrics(projection, ["fid"], reference=reference)
    images = draw(5, 2)
    with pytest.warns(UserWarning, match="5 images with 6 features"):
        value = score(metrics, images)["fid"]
    low_rank = frechet_distance_of_features(
        projection(images).features, projection(draw(600, 1))[0]
    )
    assert value == pytest.approx(float(low_rank), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(metrics, draw(50, 2))


def test_an_image_that_is_counted_twice_is_refused(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    metrics = GenerationMetrics(projection, ["fid"], reference=reference)
    with pytest.raises(ValueError, match="image 4 was given more than once"):
        score(metrics, draw(20, 2), order=torch.tensor([1, 4, 3, 4]))


def test_features_that_are_not_finite_name_their_batch(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    images = draw(60, 2)
    images[:, 0, 0, 0] = 0
    images[47, 0, 0, 0] = 1
    projection.network.weight.data[:, 0] = 3e38
    projection.network.weight.data[:, 1] = 3e38
    images[47, 0, 0, 1] = 255
    metrics = GenerationMetrics(projection, ["fid"], reference=reference)
    images[torch.arange(60) != 47, 0, 0, 1] = 0
    with pytest.raises(ValueError, match=r"batch 2 \(image 47\) are not finite: 1 of 60"):
        score(metrics, images, batch_size=20)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["fdi"], "did you mean 'fid'"), (["inception_scor"], "did you mean 'inception_score'")],
)
def test_an_unknown_metric_is_answered_with_the_nearest(
    projection: Projection, reference: ReferenceStatistics, names: Sequence[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationMetrics(projection, names, reference=reference)


def test_what_does_not_belong_together_is_refused(
    projection: Projection, reference: ReferenceStatistics
) -> None:
    with pytest.raises(ValueError, match="compute them with this extractor"):
        GenerationMetrics(Projection(dim=5), reference=reference)
    projection.num_classes = None
    with pytest.raises(ValueError, match="needs class logits"):
        GenerationMetrics(projection, ["inception_score"], reference=reference)
    metrics = GenerationMetrics(projection, ["fid"], reference=reference)
    with pytest.raises(ValueError, match="as many indices"):
        metrics.update(draw(4, 2), torch.arange(3))
    with pytest.raises(ValueError, match="two images or more, got 0"):
        metrics.compute()


def test_fid_of_real_images_grows_with_shift_blur_and_noise(
    fashion: Callable[[str], Tensor],
) -> None:
    extractor = build_extractor("fmnist_cnn")
    statistics = reference_statistics(extractor, fashion("train")[:3000].split(500), "mini", None)
    metrics = GenerationMetrics(extractor, ["fid"], reference=statistics)
    images = fashion("test")[:600]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator)

    def fid(changed: Tensor) -> float:
        return score(metrics, changed.clamp(0, 255).round().to(torch.uint8))["fid"]

    clean = fid(images.float())
    shifts = [fid(pad(images, (s, 0, s, 0))[..., :28, :28].float()) for s in (1, 2, 4)]
    blurs = [fid(avg_pool2d(images.float(), k, 1, k // 2)) for k in (3, 5, 7)]
    noises = [fid(images + level * noise) for level in (5, 20, 60)]
    for worse in (shifts, blurs, noises):
        assert [clean, *worse] == sorted([clean, *worse])
    assert clean < 3
    assert min(shifts + blurs + noises) > 1.5 * clean


def test_fid_equals_torch_fidelity_on_the_same_features(fashion: Callable[[str], Tensor]) -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    extractor = build_extractor("fmnist_cnn")
    real, fake = (extractor(fashion(split)[:1000]).features for split in ("train", "test"))
    statistics = [fidelity.fid_features_to_statistics(x.double()) for x in (fake, real)]
    expected = fidelity.fid_statistics_to_metric(*statistics, verbose=False)
    value = float(frechet_distance_of_features(fake, real))
    assert value == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert moments(real).mean.dtype == torch.float64
