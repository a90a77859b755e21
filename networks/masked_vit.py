"""The masked autoencoder of He et al. (2022): timm's ViT on visible patches, a light decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from functional.patches import Pair, gather_patches, patch_grid, patchify, unpatchify
from networks.vit_encoder import (
    attention_maps,
    build_encoder,
    embed_patches,
    encoder_state,
    initialise,
    intermediate_tokens,
    patch_positions,
    run_encoder,
    sincos_positions,
    timm_arguments,
)

POOLINGS = ("token", "mean")


def fill_hidden(mask_token: Tensor, tokens: Tensor, visible: Tensor, patches: int) -> Tensor:
    """Give ``(N, patches, D)``: ``tokens`` ``(N, K, D)`` at ``visible``, mask tokens elsewhere."""
    full = mask_token.to(tokens.dtype).expand(len(tokens), patches, -1).clone()
    full[torch.arange(len(tokens), device=tokens.device)[:, None], visible] = tokens
    return full


class Decoder(nn.Module):
    """Transformer blocks over all patches, mask tokens in place of the hidden ones.

    Args:
        input_dim: width of the encoder.
        dim, depth, heads: its own.
        grid: (rows, columns) of patches.
        patch_values: numbers in a patch, all of them predicted by one linear layer.
        prefix: class and register tokens before the patches; they pass through the blocks.
        mask_tokens: whether it puts mask tokens in; not where the encoder has done so.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int,
        depth: int,
        heads: int,
        grid: Pair,
        patch_values: int,
        prefix: int,
        mask_tokens: bool,
    ) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or dim % heads:
            raise ValueError(
                f"a decoder of depth {depth}, width {dim} and {heads} heads; expected a depth of "
                "at least 1 and a width that the heads divide"
            )
        self.prefix = prefix
        self.embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim)) if mask_tokens else None
        positions = torch.cat([torch.zeros(prefix, dim), sincos_positions(grid, dim)])
        self.pos_embed = nn.Parameter(positions[None], requires_grad=False)
        self.blocks = nn.Sequential(*[Block(dim, heads, qkv_bias=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pred = nn.Linear(dim, patch_values)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Give patches ``(N, L, patch_values)`` from the encoder's ``(N, prefix + K, input_dim)``.

        Args:
            tokens: the encoder's output; of all patches where the encoder had mask tokens.
            visible: places ``(N, K)`` of the patches that the encoder saw.
        """
        x = self.embed(tokens)
        if self.mask_token is not None:
            patches = self.pos_embed.shape[1] - self.prefix
            full = fill_hidden(self.mask_token, x[:, self.prefix :], visible, patches)
            x = torch.cat([x[:, : self.prefix], full], dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        predicted: Tensor = self.pred(x[:, self.prefix :])
        return predicted


class MaskedViT(nn.Module):
    """An encoder of visible patches (any plain ViT of timm) and a decoder of all of them.

    With ``vit_base_patch16_224`` on 3 x 224 x 224 and the paper's decoder (512 wide, 8 deep, 16
    heads) it has 111,907,840 parameters, fixed positions among them; ViT-B itself 85,798,656.

    Args:
        model: timm's name of the encoder.
        channels: of the images.
        image_size: height and width in pixels, one number for both or the two.
        patch_size: the same, of a patch.
        decoder_dim, decoder_depth, decoder_heads: of the decoder.
        embed_dim, depth, heads: of the encoder, where not the model's own.
        drop_path: share of residual branches of the encoder left out (Huang et al. 2016).
        mask_tokens_in_encoder: the encoder sees mask tokens in place of hidden patches, at the
            whole cost (He et al. 2022, table 1c).
        gradient_checkpoints: keep of each encoder block its input alone and compute the rest again
            in the backward pass (Chen et al. 2016): less memory, about a third more time.
        mean, std: of each channel of the images in [0, 1], by which the network normalises; None
            leaves [-1, 1], which is 0.5 and 0.5. The authors' weights expect ImageNet's.

    Raises:
        ValueError: for an image that patches do not cover, or settings that make no network.
    """

    def __init__(
        self,
        model: str,
        channels: int,
        image_size: int | Sequence[int],
        patch_size: int | Sequence[int],
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
        embed_dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        drop_path: float = 0.0,
        mask_tokens_in_encoder: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        gradient_checkpoints: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.channels = model, channels
        self.image_size, self.patch = _pair(image_size), _pair(patch_size)
        self.grid = patch_grid(self.image_size, self.patch)
        self.patches = self.grid[0] * self.grid[1]
        shape: dict[str, Any] = {"embed_dim": embed_dim, "depth": depth, "num_heads": heads}
        place = (self.image_size, self.patch, channels)
        self.encoder = build_encoder(model, *place, **shape, drop_path_rate=drop_path)
        self.encoder.set_grad_checkpointing(gradient_checkpoints)
        self.timm_arguments = timm_arguments(*place, **shape)
        self.mask_token: nn.Parameter | None = None
        if mask_tokens_in_encoder:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.encoder.embed_dim))
        self.decoder = Decoder(
            self.encoder.embed_dim,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            self.grid,
            channels * self.patch[0] * self.patch[1],
            self.encoder.num_prefix_tokens,
            mask_tokens=not mask_tokens_in_encoder,
        )
        initialise(self)
        shift, scale = _normalisation(mean, std, channels)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:
        """Give predicted patches ``(N, L, C * height * width)``, of :meth:`targets`' scale.

        Args:
            images: ``(N, C, H, W)`` in [-1, 1].
            visible: places ``(N, K)`` of the patches that the encoder sees.
        """
        return self.decode(self.encode(images, visible), visible)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Give the encoder's output ``(N, prefix + K, D)``, which no hidden pixel enters.

        With mask tokens in the encoder it is ``(N, prefix + L, D)``.
        """
        self._choose_attention(images)
        tokens = embed_patches(self.encoder, gather_patches(self.targets(images), visible))
        positions = patch_positions(self.encoder)
        if self.mask_token is not None:
            tokens = fill_hidden(self.mask_token, tokens, visible, self.patches)
        else:
            positions = positions[visible]
        return run_encoder(self.encoder, tokens + positions)

    def decode(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Give predicted patches ``(N, L, C * height * width)`` from :meth:`encode`'s output."""
        predicted: Tensor = self.decoder(tokens, visible)
        return predicted

    def targets(self, images: Tensor) -> Tensor:
        """Give the patches ``(N, L, C * height * width)`` of normalised images."""
        return patchify(self.normalise(images), self.patch)

    def normalise(self, images: Tensor) -> Tensor:
        """Give ``images`` in [-1, 1] as the encoder takes them."""
        return (images - self.shift) / self.scale

    def to_images(self, patches: Tensor) -> Tensor:
        """Give float32 images of which ``patches`` are the :meth:`targets`, not clamped."""
        return unpatchify(patches.float(), self.patch, self.image_size) * self.scale + self.shift

    # Whole images

    def tokens(self, images: Tensor) -> Tensor:
        """Give the encoder's normalised output ``(N, prefix + L, D)`` for whole images."""
        self._choose_attention(images)
        tokens: Tensor = self.encoder.forward_features(self.normalise(images))
        return tokens

    def features(self, images: Tensor, pooling: str) -> Tensor:
        """Give ``(N, D)`` for whole images: the class token, or the mean of the patches' tokens.

        Raises:
            ValueError: for an unknown pooling, or the class token of an encoder without one.
        """
        self.check_pooling(pooling)
        tokens = self.tokens(images)
        if pooling == "token":
            return tokens[:, 0]
        return tokens[:, self.encoder.num_prefix_tokens :].mean(dim=1)

    def check_pooling(self, pooling: str) -> None:
        """Refuse what :meth:`features` cannot give with a ValueError."""
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
        if pooling == "token" and not self.encoder.has_class_token:
            raise ValueError(f"{self.model} has no class token; use pooling mean")

    def intermediates(self, images: Tensor) -> list[Tensor]:
        """Give each block's output ``(N, prefix + L, D)`` for whole images."""
        self._choose_attention(images)
        return intermediate_tokens(self.encoder, self.normalise(images))

    def attention(self, images: Tensor) -> Tensor:
        """Give the class token's attention in the last block, ``(N, heads, rows, columns)``."""
        return attention_maps(self.encoder, self.normalise(images))

    def encoder_state(self, global_pool: str = "token") -> dict[str, Tensor]:
        """Give the encoder's weights as ``timm.create_model(model, **timm_arguments)`` takes them.

        See :func:`networks.vit_encoder.encoder_state`. timm's model takes images as
        :meth:`normalise` gives them.
        """
        return encoder_state(self.encoder, global_pool)

    def recipe(self, global_pool: str = "token") -> dict[str, Any]:
        """Give how timm makes the encoder and how its images are normalised, as plain values."""
        return {
            "model": self.model,
            "arguments": {**self.timm_arguments, "global_pool": global_pool},
            "mean": ((self.shift + 1) / 2).flatten().tolist(),
            "std": (self.scale / 2).flatten().tolist(),
        }

    def _choose_attention(self, images: Tensor) -> None:
        """Plain products for bf16 on a CPU, where the fused kernel's backward pass is slower."""
        fused = images.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        for block in (*self.encoder.blocks, *self.decoder.blocks):
            if block.attn.fused_attn != fused:
                block.attn.fused_attn = fused


def _pair(size: int | Sequence[int]) -> Pair:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"a size of {size} pixels; expected one number, or height and width")
    return pair[0], pair[1]


def _normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[Tensor, Tensor]:
    """Give shift and scale ``(1, C, 1, 1)`` for images in [-1, 1] of statistics for [0, 1]."""
    given = [list(values or [0.5] * channels) for values in (mean, std)]
    if any(len(values) != channels for values in given) or min(given[1]) <= 0:
        raise ValueError(f"{mean=} and {std=}: expected {channels} numbers each, std above 0")
    statistics: Any = [torch.tensor(values).view(1, channels, 1, 1) for values in given]
    return 2 * statistics[0] - 1, 2 * statistics[1]
