"""Backbones of timm, at the size of images that a protocol was published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metrics.weights import load_state, load_tensors

# By a part of the model's name. FD-DINOv2 was published on images of 224 pixels (Stein et al. 2023,
# "Exposing flaws of generative model evaluation metrics"); timm's own size of DINOv2 is 518.
PUBLISHED_SIZES = {"dinov2": 224}


def split_name(name: str) -> tuple[str, int | None]:
    """Give the model of ``timm:<name>[:<pixels>]`` and the side of its images.

    Without pixels the side is the published protocol's, or None for timm's own. A side that is
    named is part of the extractor's name, and so of every metric's key.

    Raises:
        ValueError: where the pixels are no positive number.
    """
    model, _, pixels = name.removeprefix("timm:").partition(":")
    if not pixels:
        return model, next((size for k, size in PUBLISHED_SIZES.items() if k in model), None)
    if not pixels.isdecimal() or int(pixels) < 1:
        raise ValueError(f"extractor {name!r}: expected pixels after the last colon, as in :224")
    return model, int(pixels)


def fit_size(
    network: Any, own: tuple[int, int, int], size: int | None, model: str
) -> tuple[int, int, int]:
    """Give the (C, H, W) that ``network`` gets, its position embeddings fitted to ``size``.

    Args:
        network: changed in place where it holds embeddings of positions.
        own: timm's (C, H, W).
        size: wanted height and width, or None for timm's own.
        model: name, for the error message.

    Raises:
        ValueError: where the network cannot take that size.
    """
    if size is None or own[1:] == (size, size):
        return own
    if hasattr(network, "set_input_size"):
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))[0]
        if size % patch:
            raise ValueError(f"{model} cuts patches of {patch}; {size} pixels do not divide")
        network.set_input_size(img_size=size)
    return own[0], size, size


def timm_network(timm: Any, model_name: str, path: Path | None) -> Any:
    """Give the backbone with the weights in ``path``, or those that timm downloads.

    Raises:
        ValueError: where the weights do not fit or cannot be had.
    """
    if path is not None:
        network = timm.create_model(model_name, pretrained=False, num_classes=0)
        state = load_tensors(path)
        heads = network.pretrained_cfg.get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        for head in heads:
            state.pop(f"{head}.weight", None)
            state.pop(f"{head}.bias", None)
        load_state(network, state, str(path))
        return network
    try:
        return timm.create_model(model_name, pretrained=True, num_classes=0)
    except Exception as error:  # the download libraries share no base class
        raise ValueError(
            f"could not get timm's weights of {model_name!r} ({error}): fetch them elsewhere and "
            "give their path as the extractor's weights"
        ) from error
