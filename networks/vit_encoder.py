"""A Vision Transformer of timm as the encoder of visible patches, and what is read out of it."""

from __future__ import annotations

import difflib
import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers.patch_embed import PatchEmbed
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from functional.patches import Pair, patch_grid

# Poolings with which timm's final norm comes after the pooling, under the name fc_norm.
NORM_AFTER_POOLING = ("avg", "avgmax", "max")


def sincos_positions(grid: Pair, dim: int) -> Tensor:
    """Give fixed positions ``(rows * columns, dim)``: sines and cosines of column and row.

    The first half of the numbers is of the column, the second of the row; in each half sines come
    before cosines, at frequencies 10000^(-i / (dim / 4)) (Vaswani et al. 2017, section 3.5, in two
    dimensions as by Chen et al. 2021, "An empirical study of training self-supervised ViTs").

    Raises:
        ValueError: where ``dim`` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"a width of {dim} has no 2-D sine-cosine positions; use a multiple of 4")
    frequencies = 10_000 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    rows, columns = (torch.arange(n, dtype=torch.float64)[:, None] * frequencies for n in grid)
    row, column = (torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (rows, columns))
    column, row = column.repeat(grid[0], 1), row.repeat_interleave(grid[1], dim=0)
    return torch.cat([column, row], dim=1).float()


def build_encoder(model: str, image: Pair, patch: Pair, channels: int, **settings: Any) -> Any:
    """Give timm's ``model`` without a head, with fixed sine-cosine positions.

    Args:
        model: timm's name of a plain ViT, e.g. ``vit_base_patch16_224``.
        image, patch: (height, width) in pixels.
        channels: of the images.
        settings: what changes the model's own: ``embed_dim``, ``depth``, ``num_heads``, ...; those
            that are None are left out.

    Raises:
        ValueError: where timm has no such model, it is no plain ViT, or the sizes do not fit.
    """
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models("vit_*"), n=3, cutoff=0.4)
        raise ValueError(f"timm has no model {model!r}; did you mean {', '.join(near) or 'vit_*'}?")
    grid = patch_grid(image, patch)
    arguments = timm_arguments(image, patch, channels, **settings)
    try:
        encoder: Any = timm.create_model(model, num_classes=0, global_pool="", **arguments)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"timm cannot make {model} with {arguments}: {error}") from error
    _check_plain(encoder, model)
    prefix = 0 if encoder.no_embed_class else encoder.num_prefix_tokens
    own = torch.zeros(prefix, encoder.embed_dim)
    positions = torch.cat([own, sincos_positions(grid, encoder.embed_dim)])
    encoder.pos_embed.data.copy_(positions[None])
    encoder.pos_embed.requires_grad_(False)
    return encoder


def timm_arguments(image: Pair, patch: Pair, channels: int, **settings: Any) -> dict[str, Any]:
    """Give what ``timm.create_model`` takes beside the name, for the same encoder."""
    given = {name: value for name, value in settings.items() if value is not None}
    return {"img_size": list(image), "patch_size": list(patch), "in_chans": channels, **given}


def _check_plain(encoder: Any, model: str) -> None:
    plain = isinstance(encoder, VisionTransformer) and type(encoder.patch_embed) is PatchEmbed
    attention = getattr(encoder.blocks[0], "attn", None) if plain else None
    if not plain or encoder.pos_embed is None or not hasattr(attention, "qkv"):
        raise ValueError(
            f"{model} is no plain ViT: it needs one convolution as patch embedding, absolute "
            "positions and plain attention; use a model such as vit_tiny_patch16_224"
        )


def initialise(module: nn.Module) -> None:
    """Draw the weights as He et al. (2022, table 8): Xavier uniform, biases 0.

    A convolution that embeds patches counts as the linear layer that it is.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(layer.weight.data.flatten(1))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, parameter in module.named_parameters():
        if name.endswith("_token"):
            nn.init.normal_(parameter, std=0.02)


def embed_patches(encoder: Any, patches: Tensor) -> Tensor:
    """Give the embeddings ``(N, K, D)`` of patches ``(N, K, C * height * width)``.

    The convolution of timm's patch embedding, as the linear map that it is, so that it is computed
    for the visible patches alone.
    """
    layer = encoder.patch_embed.proj
    embedded: Tensor = encoder.patch_embed.norm(
        F.linear(patches, layer.weight.flatten(1), layer.bias)
    )
    return embedded


def patch_positions(encoder: Any) -> Tensor:
    """Give the positions of the patches, ``(L, D)``."""
    prefix = 0 if encoder.no_embed_class else encoder.num_prefix_tokens
    positions: Tensor = encoder.pos_embed[0, prefix:]
    return positions


def run_encoder(encoder: Any, tokens: Tensor) -> Tensor:
    """Give the normalised output ``(N, prefix + K, D)`` for patch tokens with their positions."""
    own = [token for token in (encoder.cls_token, encoder.reg_token) if token is not None]
    if own:
        prefix = torch.cat(own, dim=1)
        if not encoder.no_embed_class:
            prefix = prefix + encoder.pos_embed[:, : prefix.shape[1]]
        tokens = torch.cat([prefix.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
    output: Tensor = encoder.norm(run_blocks(encoder, encoder.norm_pre(tokens)))
    return output


def run_blocks(encoder: Any, tokens: Tensor) -> Tensor:
    """Give what the blocks make of ``tokens`` ``(N, K, D)``, by checkpoints where asked."""
    if encoder.grad_checkpointing and torch.is_grad_enabled():
        tokens = checkpoint_seq(encoder.blocks, tokens)
    else:
        tokens = encoder.blocks(tokens)
    return tokens


def intermediate_tokens(encoder: Any, images: Tensor) -> list[Tensor]:
    """Give the output ``(N, prefix + L, D)`` of each block, not normalised, for whole images."""
    outputs = encoder.forward_intermediates(
        images, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    if not encoder.num_prefix_tokens:
        return list(outputs)
    return [torch.cat([prefix, patches], dim=1) for patches, prefix in outputs]


def attention_maps(encoder: Any, images: Tensor) -> Tensor:
    """Give how much the class token looks at each patch in the last block.

    ``(N, heads, rows, columns)`` of softmax values; without a class token, of the mean over all
    patches that look. With its part on prefix tokens they sum to 1.
    """
    attention, seen = encoder.blocks[-1].attn, []
    handle = attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        encoder.forward_features(images)
    finally:
        handle.remove()
    n, t, _ = seen[0].shape
    qkv = attention.qkv(seen[0]).reshape(n, t, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = attention.q_norm(qkv[0]), attention.k_norm(qkv[1])
    weights = torch.softmax((q @ k.mT).float() / math.sqrt(q.shape[-1]), dim=-1)
    looking: Tensor = weights[:, :, 0] if encoder.has_class_token else weights.mean(dim=2)
    return looking[:, :, encoder.num_prefix_tokens :].view(n, -1, *encoder.patch_embed.grid_size)


def encoder_state(encoder: nn.Module, global_pool: str = "token") -> dict[str, Tensor]:
    """Give the weights under the names that ``timm.create_model(..., global_pool=...)`` has.

    Args:
        encoder: of :func:`build_encoder`.
        global_pool: with "avg", "avgmax" and "max" timm normalises after pooling, and calls the
            final norm ``fc_norm``. (The paper's fine-tuning with mean pooling does the same.)
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}
    if global_pool in NORM_AFTER_POOLING:
        for name in [name for name in state if name.startswith("norm.")]:
            state[f"fc_{name}"] = state.pop(name)
    return state
