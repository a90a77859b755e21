"""A ``UNet2DModel`` of diffusers as our :class:`networks.unet.UNet`: its settings and its weights.

What is read is the published layout, ``config.json`` beside ``diffusion_pytorch_model.safetensors``
or ``.bin``; diffusers itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# What our U-Net is by construction; a setting that a config.json leaves out is diffusers' default.
FIXED: dict[str, tuple[Any, Any]] = {
    "act_fn": ("silu", "silu"),
    "add_attention": (True, True),
    "center_input_sample": (False, False),
    "class_embed_type": (None, None),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "conv"),
    "flip_sin_to_cos": (False, True),
    "freq_shift": (1, 0),
    "mid_block_scale_factor": (1, 1),
    "norm_eps": (1e-6, 1e-5),
    "norm_num_groups": (32, 32),
    "num_class_embeds": (None, None),
    "time_embedding_type": ("positional", "positional"),
    "upsample_type": ("conv", "conv"),
}
"""By setting: the value taken, and diffusers' default."""
BLOCKS = {"DownBlock2D": False, "AttnDownBlock2D": True, "UpBlock2D": False, "AttnUpBlock2D": True}
RESIDUAL = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time_emb_proj": "embed",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "skip",
}
# Files from before diffusers 0.11 have the second names.
ATTENTION = {
    "norm": (("group_norm",),),
    "qkv": (("to_q", "query"), ("to_k", "key"), ("to_v", "value")),
    "out": (("to_out.0", "proj_attn"),),
}


def read_json(path: Path) -> dict[str, Any]:
    """Give the JSON object in ``path``.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it is no JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no model of diffusers: it has no {path.name}")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings")
    return content


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Give the weights in ``folder`` by diffusers' names.

    Raises:
        FileNotFoundError: where there are none.
    """
    for path in (folder / name for name in WEIGHTS):
        if path.is_file():
            safe = path.suffix == ".safetensors"
            return load_file(path) if safe else dict(torch.load(path, weights_only=True))
    raise FileNotFoundError(f"{folder} has no weights; expected {' or '.join(WEIGHTS)}")


def unet_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of our U-Net for a ``config.json``.

    Raises:
        ValueError: naming every setting that our U-Net cannot honour, and what it takes.
    """
    wrong = [
        f"{key}={config.get(key, default)!r} (expected {taken!r})"
        for key, (taken, default) in FIXED.items()
        if config.get(key, default) != taken
    ]
    scale_shift = config.get("resnet_time_scale_shift", "default") == "scale_shift"
    groups = config.get("attn_norm_num_groups")
    # With scale_shift and no number diffusers leaves the norm of the middle's attention out.
    if groups != 32 and (scale_shift or groups is not None):
        wrong.append(f"attn_norm_num_groups={groups} (expected 32)")
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    wrong += [f"block {name}" for name in {*down, *up} - BLOCKS.keys()]
    if not wrong and [BLOCKS[name] for name in down] != [BLOCKS[name] for name in reversed(up)]:
        wrong.append(f"attention at other levels going up, {up}, than going down")
    widths = list(config["block_out_channels"])
    if any(width % widths[0] or width % 32 or width < 64 for width in widths):
        wrong.append(f"block_out_channels={widths} (expected multiples of 32 and of the first)")
    if wrong:
        raise ValueError(f"this UNet2DModel cannot be taken over: {'; '.join(wrong)}")
    size = int(config["sample_size"])
    sizes = [size]
    while len(sizes) < len(widths):
        sizes.append((sizes[-1] + 1) // 2)
    attends = [BLOCKS[name] for name in down]
    return {
        "in_channels": int(config["in_channels"]),
        "out_channels": int(config["out_channels"]),
        "image_size": size,
        "channels": widths[0],
        "multipliers": [width // widths[0] for width in widths],
        "blocks": int(config.get("layers_per_block", 2)),
        "attention_resolutions": [s for s, on in zip(sizes, attends, strict=True) if on],
        "heads": _heads(config, widths, attends),
        "dropout": float(config.get("dropout", 0.0)),
        "patch_size": 1,
        "scale_shift": scale_shift,
        "group_size": None,
        "num_classes": 0,
    }


def _heads(config: Mapping[str, Any], widths: list[int], attends: list[bool]) -> int:
    """Give the heads of every attention block; diffusers states the width of one head."""
    width = config.get("attention_head_dim", 8)
    if width is None:
        return 1
    found = {channels // int(width) for channels, on in zip(widths, attends, strict=True) if on}
    found.add(widths[-1] // int(width))
    if len(found) > 1 or 0 in found:
        raise ValueError(
            f"attention_head_dim={width} gives {sorted(found)} heads at levels of other widths; "
            "our U-Net has one number for all"
        )
    return found.pop()


def unet_weights(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give ``weights`` by the names of our U-Net of ``settings``, float32.

    Raises:
        ValueError: for a weight that is missing or left over.
    """
    left = dict(weights)
    taken: dict[str, Tensor] = {}

    def take(*names: str) -> Tensor:
        name = next((name for name in names if name in left), None)
        if name is None:
            raise ValueError(f"the weights lack {names[0]}; is the file of this config.json?")
        return left.pop(name).float()

    for ours, theirs, kind in layers(settings):
        for end in (".weight", ".bias"):
            if kind == "attention":
                for layer, sources in ATTENTION.items():
                    parts = [take(*(f"{theirs}.{n}{end}" for n in names)) for names in sources]
                    taken[f"{ours}.{layer}{end}"] = _as_convolution(torch.cat(parts), layer, end)
            elif kind == "residual":
                for source, layer in RESIDUAL.items():
                    if source != "conv_shortcut" or f"{theirs}.{source}{end}" in left:
                        taken[f"{ours}.{layer}{end}"] = take(f"{theirs}.{source}{end}")
            else:
                taken[ours + end] = take(theirs + end)
    if left:
        raise ValueError(f"the weights hold {next(iter(left))}, which config.json has no place for")
    return taken


def _as_convolution(tensor: Tensor, layer: str, end: str) -> Tensor:
    """Give the weight of a linear layer as that of a 1 x 1 convolution."""
    linear = end == ".weight" and layer != "norm"
    return tensor.reshape(*tensor.shape[:2], 1, 1) if linear else tensor


def layers(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (our name, diffusers' name, kind) of every part that has weights."""
    yield "embed.0", "time_embedding.linear_1", "layer"
    yield "embed.2", "time_embedding.linear_2", "layer"
    yield "stem", "conv_in", "layer"
    yield "norm_out", "conv_norm_out", "layer"
    yield "head", "conv_out", "layer"
    yield "middle.0.block", "mid_block.resnets.0", "residual"
    yield "middle.0.attention", "mid_block.attentions.0", "attention"
    yield "middle.1.block", "mid_block.resnets.1", "residual"
    depths, blocks = len(settings["multipliers"]), settings["blocks"]
    attends = _attending(settings)
    yield from _way("down", "downsamplers", attends, blocks, depths - 1)
    yield from _way("up", "upsamplers", attends[::-1], blocks + 1, depths - 1)


def _attending(settings: Mapping[str, Any]) -> list[bool]:
    size, found = settings["image_size"], []
    for _ in settings["multipliers"]:
        found.append(size in settings["attention_resolutions"])
        size = (size + 1) // 2
    return found


def _way(
    way: str, between: str, attends: list[bool], blocks: int, last: int
) -> Iterator[tuple[str, str, str]]:
    number = 0
    for depth, attend in enumerate(attends):
        source = f"{way}_blocks.{depth}"
        for block in range(blocks):
            yield f"{way}.{number}.block", f"{source}.resnets.{block}", "residual"
            if attend:
                yield f"{way}.{number}.attention", f"{source}.attentions.{block}", "attention"
            number += 1
        if depth < last:
            yield f"{way}.{number}.conv", f"{source}.{between}.0.conv", "layer"
            number += 1
