from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from functional.images import to_uint8
from metrics import extractors
from metrics.extractors import FMNIST_CNN_SHA256, FMNIST_CNN_WEIGHTS, build_extractor

TIMM = "timm:test_resnet"


def noise_images(n: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)


def test_the_shipped_extractor_is_accurate_on_real_test_images(
    fashion: Callable[[str], Tensor], fashion_test_labels: Tensor
) -> None:
    images, labels = fashion("test"), fashion_test_labels
    extractor = build_extractor("fmnist_cnn")
    features, logits = extractor(images)
    assert logits is not None
    assert features.shape == (2000, extractor.dim)
    assert logits.shape == (2000, extractor.num_classes)
    assert float((logits.argmax(1) == labels).float().mean()) >= 0.925
    assert float(features.var(dim=0).mean()) == pytest.approx(1, abs=0.25)


def test_the_shipped_weights_are_small_and_have_the_recorded_hash() -> None:
    content = FMNIST_CNN_WEIGHTS.read_bytes()
    assert len(content) <= 1_000_000
    assert hashlib.sha256(content).hexdigest() == FMNIST_CNN_SHA256
    readme = (FMNIST_CNN_WEIGHTS.parent / "README.md").read_text()
    assert FMNIST_CNN_SHA256 in readme


def test_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_file(FMNIST_CNN_WEIGHTS)
    state["classifier.bias"] += 1
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=f"expected {FMNIST_CNN_SHA256}"):
        build_extractor("fmnist_cnn", str(tmp_path / "other.safetensors"), FMNIST_CNN_SHA256)
    other = build_extractor("fmnist_cnn", str(tmp_path / "other.safetensors"))
    assert other.weights_sha256 != FMNIST_CNN_SHA256
    monkeypatch.setattr(extractors, "FMNIST_CNN_WEIGHTS", tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="another or a damaged file"):
        build_extractor("fmnist_cnn")


def test_a_missing_or_damaged_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        build_extractor("fmnist_cnn", str(tmp_path / "nowhere.pth"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(FMNIST_CNN_WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"damaged\.safetensors is not a file of plain tensors"):
        build_extractor("fmnist_cnn", str(damaged))


def test_training_mode_autocast_and_gradients_cannot_reach_the_features() -> None:
    extractor = build_extractor("fmnist_cnn")
    images = noise_images(8, 1, 28)
    alone = extractor(images).features
    extractor.train()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = extractor(images).features
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not extractor.network.training
    assert torch.equal(alone, inside)
    assert alone.dtype == torch.float32
    assert not alone.requires_grad


def test_grey_equals_its_colour_copy_and_sizes_are_resized() -> None:
    extractor = build_extractor("fmnist_cnn")
    grey = noise_images(4, 1, 28)
    torch.testing.assert_close(
        extractor(grey.expand(-1, 3, -1, -1)).features, extractor(grey).features, atol=1e-4, rtol=0
    )
    assert extractor(noise_images(2, 3, 45)).features.shape == (2, 128)


def test_floats_and_wrong_shapes_are_refused_instead_of_wrapped() -> None:
    extractor = build_extractor("fmnist_cnn")
    with pytest.raises(ValueError, match="must be uint8"):
        extractor(torch.rand(2, 1, 28, 28))
    for shape in [(2, 28, 28), (2, 4, 28, 28), (0, 1, 28, 28)]:
        with pytest.raises(ValueError, match="must be"):
            extractor(torch.zeros(shape, dtype=torch.uint8))


def test_values_just_out_of_range_are_clamped_and_not_wrapped_on_the_way_to_features() -> None:
    extractor = build_extractor("fmnist_cnn")
    white = torch.ones(1, 1, 28, 28)
    assert torch.equal(
        extractor(to_uint8(1.01 * white)).features, extractor(to_uint8(white)).features
    )
    assert torch.equal(
        extractor(to_uint8(-1.01 * white)).features, extractor(to_uint8(-white)).features
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fmist_cnn", "'fmnist_cnn'"),
        ("inceptoin", "'inception'"),
        ("timm:test_resne", "test_resnet"),
    ],
)
def test_an_unknown_extractor_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '?{hint}"):
        build_extractor(name)


def test_inception_features_equal_torch_fidelity_bit_for_bit(inception_weights: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = fidelity.FeatureExtractorInceptionV3(
        "reference", ["2048", "logits_unbiased"], str(inception_weights)
    )
    digest = hashlib.sha256(inception_weights.read_bytes()).hexdigest()
    extractor = build_extractor("inception", str(inception_weights), digest)
    images = noise_images(2, 1)
    features, logits = extractor(images)
    expected = network(images.repeat(1, 3, 1, 1))
    assert torch.equal(features, expected[0])
    assert logits is not None and torch.equal(logits, expected[1])
    assert float(features[0].sub(features[1]).abs().max()) > 0
    assert (extractor.dim, extractor.num_classes, extractor.antialias) == (2048, 1008, False)
    assert extractor.weights_sha256 == digest


def test_inception_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    touched = tmp_path / "touched"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (touched,)

    torch.save({"weight": Payload()}, tmp_path / "payload.pth")
    with pytest.raises(ValueError, match="never loaded"):
        build_extractor("inception", str(tmp_path / "payload.pth"))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="plain tensors"):
        build_extractor("inception", str(tmp_path / "plain.pth"))
    assert not touched.exists()


def test_inception_without_weights_and_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch_fidelity")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(ValueError, match="could not download .* give its path"):
        build_extractor("inception")


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match="pip install torch-fidelity"):
        build_extractor("inception", "any.pth")


def test_a_timm_backbone_gives_its_own_features_of_its_own_preprocessing(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=1000).eval()
    path = tmp_path / "with_head.safetensors"
    save_file(network.state_dict(), path)
    extractor = build_extractor(TIMM, str(path))
    data = timm.data.resolve_model_data_config(network)
    size = data["input_size"][-1]
    images = noise_images(3, 3, size)
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        maps = network.forward_features((images / 255 - mean) / std)
        expected = network.forward_head(maps, pre_logits=True)
    features, logits = extractor(images)
    torch.testing.assert_close(features, expected)
    assert logits is None
    assert extractor.name == TIMM
    assert extractor(noise_images(2, 1, 20)).features.shape == (2, extractor.dim)


def test_timm_weights_that_do_not_fit_are_refused_instead_of_left_random(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    state.pop(next(name for name in state if name.endswith("weight")))
    save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        build_extractor(TIMM, str(tmp_path / "partial.safetensors"))


@pytest.mark.parametrize(("suffix", "size"), [("", 224), (":28", 28)])
def test_dinov2_sees_images_at_the_size_of_the_published_protocol_or_as_named(
    tmp_path: Path, suffix: str, size: int
) -> None:
    """timm's own network made for that size, with the same file of 518-pixel weights, agrees."""
    timm = pytest.importorskip("timm")
    model = "vit_small_patch14_dinov2"
    torch.manual_seed(0)
    native = timm.create_model(model, num_classes=0)
    save_file(native.state_dict(), tmp_path / "weights.safetensors")
    extractor = build_extractor(f"timm:{model}{suffix}", str(tmp_path / "weights.safetensors"))
    file = {"file": str(tmp_path / "weights.safetensors")}
    network = timm.create_model(
        model, pretrained=True, pretrained_cfg_overlay=file, num_classes=0, img_size=size
    ).eval()
    images = noise_images(1, 3, size)
    mean, std = (torch.tensor(native.default_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        wanted = network((images / 255 - mean) / std)
    torch.testing.assert_close(extractor(images).features, wanted, atol=1e-5, rtol=1e-4)
    assert extractor.resize == f"{size} bicubic"
    assert extractor.name == f"timm:{model}{suffix}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:vit_small_patch14_dinov2:large", "expected pixels"),
        ("timm:test_vit:100", "patches of 16; 100 pixels"),
    ],
)
def test_a_size_that_a_backbone_cannot_take_is_refused(
    tmp_path: Path, name: str, words: str
) -> None:
    timm = pytest.importorskip("timm")
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), path)
    with pytest.raises(ValueError, match=words):
        build_extractor(name, str(path))
