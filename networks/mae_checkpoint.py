"""Weights of a MaskedViT in files: read as He et al. (2022) released theirs, written for timm."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.models import load_state_dict
from torch import Tensor

from functional.state_dicts import misfits
from networks.masked_vit import MaskedViT

DECODER = ("decoder_", "mask_token")


def save_encoder(network: MaskedViT, path: Path, global_pool: str = "token") -> None:
    """Write the encoder's weights as timm takes them, and how to make the model as metadata.

    ``timm.create_model(model, num_classes=0, **arguments)``, both from the metadata, loads them
    with ``strict=True``; its images are to be normalised by mean and std.
    """
    about = {key: json.dumps(value) for key, value in network.recipe(global_pool).items()}
    save_file(network.encoder_state(global_pool), path, metadata=about)


def load_weights(network: MaskedViT, path: Path) -> str:
    """Load a file in the layout of :func:`load_official`, ``.safetensors`` or PyTorch's.

    Nothing in it is run; of what is no tensor, only the settings of a training script
    (``argparse.Namespace``) may lie beside the weights.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it cannot be read as tensors, or they do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # safetensors, pickle and zip files share no base class
        raise ValueError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path} does not hold tensors by name; give a checkpoint of a model")
    return load_official(network, state)


def load_official(network: MaskedViT, checkpoint: Mapping[str, Any]) -> str:
    """Load released weights, every tensor accounted for; give "encoder" or "encoder and decoder".

    The encoder alone is also the layout of timm. Its decoder then stays as it is.

    Args:
        network: as wide and deep as the weights.
        checkpoint: names to tensors, or a dict that has them under ``model``.

    Raises:
        ValueError: naming the tensors that are missing, left over or of another shape.
    """
    state = checkpoint.get("model", checkpoint)
    whole = any(name.startswith(DECODER) for name in state)
    converted = {_our_name(name): tensor for name, tensor in state.items()}
    for name in ("decoder.pred.weight", "decoder.pred.bias"):
        if name in converted:
            converted[name] = _channels_first(converted[name], network)
    parts = ("",) if whole else ("encoder.",)
    wanted = {k: v for k, v in network.state_dict().items() if k.startswith(parts)}
    _check(wanted, converted, network)
    network.load_state_dict(converted, strict=whole)
    return "encoder and decoder" if whole else "encoder"


def _our_name(name: str) -> str:
    if name == "mask_token":
        return "decoder.mask_token"
    if name.startswith("decoder_"):
        return "decoder." + name.removeprefix("decoder_")
    return "encoder." + name


def _channels_first(rows: Tensor, network: MaskedViT) -> Tensor:
    """Reorder the outputs of the last layer: their patches have the channels last, ours first."""
    height, width = network.patch
    if len(rows) != height * width * network.channels:
        return rows  # of another shape, which the check will name
    cut = rows.view(height, width, network.channels, *rows.shape[1:])
    return cut.movedim(2, 0).flatten(0, 2)


def _check(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], network: MaskedViT) -> None:
    told = misfits(wanted, found)
    if told:
        raise ValueError(
            f"the weights do not fit {network.model} on {network.channels} x "
            f"{network.image_size[0]} x {network.image_size[1]} in patches of "
            f"{network.patch[0]} x {network.patch[1]}; {told}. "
            "Set the network's model, sizes and decoder to those of the checkpoint"
        )
