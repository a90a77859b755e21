"""Feature networks behind one interface: uint8 images in, float32 features and logits out."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from functional.images import to_float
from metrics.timm_networks import fit_size, split_name, timm_network
from metrics.weights import check_sha256, download, load_state, load_tensors, state_sha256
from networks.cnn_features import CNNFeatures

NAMES = ("fmnist_cnn", "inception", "timm:<name>")
FMNIST_CNN_WEIGHTS = Path(__file__).parent / "assets" / "fmnist_cnn.safetensors"
FMNIST_CNN_SHA256 = "a40310beccf97b63858326581f9ccd9c5827c60d8cf33e785317b7a771a69e65"
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class Features(NamedTuple):
    """What a feature network gives for images.

    features: float32 ``(N, dim)``.
    logits: float32 ``(N, num_classes)``, or None where the network has no classes.
    """

    features: Tensor
    logits: Tensor | None


class FeatureExtractor(nn.Module, ABC):
    """A frozen feature network: evaluation mode, no gradient, float32 whatever surrounds it.

    Attributes:
        name: as ``build_extractor`` takes it; part of every metric's key.
        dim: number of features.
        num_classes: number of logits, None where there are none.
        weights_sha256: of the weights file, or of the tensors where a library fetched them.
        resize: size and interpolation that images are brought to.
        antialias: whether that interpolation low-passes when it shrinks.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        dim: int,
        num_classes: int | None,
        weights_sha256: str,
        resize: str,
        antialias: bool,
    ) -> None:
        super().__init__()
        self.network = network.float().eval().requires_grad_(False)
        self.name = name
        self.dim = dim
        self.num_classes = num_classes
        self.weights_sha256 = weights_sha256
        self.resize = resize
        self.antialias = antialias

    @property
    def device(self) -> torch.device:
        """The device of the weights; images are moved to it."""
        return next(self.network.parameters()).device

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in evaluation mode: statistics of a metric's batch must not enter its features."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Give the features of uint8 images ``(N, C, H, W)``, C 1 or 3, on the weights' device.

        Raises:
            ValueError: for floats (whose range is ambiguous) or another shape.
        """
        if images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8, got {images.dtype}: use functional.images.to_uint8"
            )
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            raise ValueError(f"images must be (N, 1 or 3, H, W), got {tuple(images.shape)}")
        with full_precision(self.device):
            features, logits = self.extract(images.to(self.device))
        return Features(features.float(), None if logits is None else logits.float())

    @abstractmethod
    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give features and logits of checked uint8 images on the right device."""


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Give a context in which float32 work is done in float32: no autocast, TF32 or bf16."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(device.type, enabled=False))
            if device.type == "cuda":
                cudnn = torch.backends.cudnn
                stack.enter_context(
                    cudnn.flags(True, cudnn.benchmark, deterministic=True, allow_tf32=False)
                )
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


class FashionMNISTExtractor(FeatureExtractor):
    """The shipped classifier of Fashion-MNIST: 128 features, 10 classes, 28 x 28 grey."""

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give features and logits; colour becomes luma, other sizes are resized to 28 x 28."""
        pixels = to_float(images)
        if pixels.shape[1] == 3:
            pixels = (pixels * pixels.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
        if pixels.shape[-2:] != (28, 28):
            pixels = interpolate(pixels, (28, 28), mode="bilinear", antialias=True)
        features, logits = self.network(pixels)
        return features, logits


class InceptionExtractor(FeatureExtractor):
    """The Inception-v3 of Heusel et al. (2017) as torch-fidelity ports it, bit for bit."""

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the 2048 pooled features and the 1008 logits without bias."""
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        return features, logits


class TimmExtractor(FeatureExtractor):
    """A timm backbone with its own interpolation, mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, data: dict[str, Any], **record: Any) -> None:
        super().__init__(network, **record)
        self.size = tuple(data["input_size"][1:])
        self.mode = data["interpolation"]
        self.register_buffer("mean", torch.tensor(data["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(data["std"]).view(3, 1, 1), persistent=False)

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give the pooled features; the whole image is resized, nothing is cropped."""
        pixels = images.expand(-1, 3, -1, -1).float() / 255
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = interpolate(pixels, self.size, mode=self.mode, antialias=True).clamp(0, 1)
        return self.network((pixels - self.mean) / self.std), None


def build_extractor(
    name: str,
    weights: str | None = None,
    sha256: str | None = None,
    device: torch.device | str = "cpu",
) -> FeatureExtractor:
    """Give the feature network ``name`` on ``device``, with its weights checked.

    Args:
        name: ``fmnist_cnn`` (ships), ``inception``, ``timm:<name>`` or
            ``timm:<name>:<pixels>`` (see :func:`metrics.timm_networks.split_name`).
        weights: path of a local weights file; None takes the shipped or the downloaded ones.
        sha256: what that file must have; None accepts and records any.

    Raises:
        ValueError: for an unknown name, weights of another hash, a library that is not installed,
            or a download that fails.
        FileNotFoundError: where ``weights`` is no file.
    """
    path = None if weights is None else Path(weights).expanduser()
    if name == "fmnist_cnn":
        extractor = _build_fmnist_cnn(path, sha256)
    elif name == "inception":
        extractor = _build_inception(path, sha256)
    elif name.startswith("timm:"):
        extractor = _build_timm(name, path, sha256)
    else:
        raise ValueError(f"unknown extractor {name!r}{_nearest(name, NAMES)}; there are {NAMES}")
    return extractor.to(device)


def _build_fmnist_cnn(path: Path | None, sha256: str | None) -> FeatureExtractor:
    if path is None:
        path, sha256 = FMNIST_CNN_WEIGHTS, sha256 or FMNIST_CNN_SHA256
    digest = check_sha256(path, sha256)
    network = CNNFeatures()
    state = {key: value.float() for key, value in load_tensors(path).items()}
    counters = {key: v for key, v in network.state_dict().items() if key.endswith("_tracked")}
    load_state(network, counters | state, str(path))
    return FashionMNISTExtractor(
        network.to(memory_format=torch.channels_last),
        name="fmnist_cnn",
        dim=network.dim,
        num_classes=network.num_classes,
        weights_sha256=digest,
        resize="28 bilinear, luma",
        antialias=True,
    )


def _build_inception(path: Path | None, sha256: str | None) -> FeatureExtractor:
    try:
        fidelity = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise ValueError(
            "extractor 'inception' needs torch-fidelity: pip install torch-fidelity"
        ) from error
    if path is None:
        url = fidelity.URL_INCEPTION_V3
        prefix = Path(url).stem.rsplit("-", 1)[-1]
        path = download(url, prefix, "the extractor's weights")
        sha256 = sha256 or prefix
    digest = check_sha256(path, sha256)
    load_tensors(path)  # torch-fidelity unpickles without restriction: refuse other objects here
    try:
        network = fidelity.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], str(path)
        )
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit torch-fidelity's Inception-v3: {error}") from error
    return InceptionExtractor(
        network,
        name="inception",
        dim=2048,
        num_classes=1008,
        weights_sha256=digest,
        resize="299 bilinear, as TensorFlow 1",
        antialias=False,
    )


def _build_timm(name: str, path: Path | None, sha256: str | None) -> FeatureExtractor:
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        raise ValueError(f"extractor {name!r} needs timm: pip install timm") from error
    model_name, size = split_name(name)
    if not timm.is_model(model_name):
        raise ValueError(
            f"timm has no model {model_name!r}{_nearest(model_name, timm.list_models())}; "
            "see timm.list_models()"
        )
    digest = None if path is None else check_sha256(path, sha256)
    network = timm_network(timm, model_name, path)
    digest = digest or state_sha256(network.state_dict())  # before positions are fitted to a size
    data = timm.data.resolve_model_data_config(network)
    data["input_size"] = fit_size(network, data["input_size"], size, model_name)
    return TimmExtractor(
        network,
        data,
        name=name,
        dim=network.num_features,
        num_classes=None,
        weights_sha256=digest,
        resize=f"{data['input_size'][-1]} {data['interpolation']}",
        antialias=True,
    )


def _nearest(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f", did you mean {near[0]!r}?" if near else ""
