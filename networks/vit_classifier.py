"""A masked autoencoder's encoder as a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from networks.masked_vit import POOLINGS, MaskedViT
from networks.vit_encoder import run_blocks


class ViTClassifier(nn.Module):
    """timm's ViT of a :class:`MaskedViT` under a linear head; the decoder is left aside.

    Equal to ``timm.create_model(model, num_classes=N, global_pool="avg" or "token")`` with the
    weights that :meth:`MaskedViT.encoder_state` exports.

    Args:
        network: holds the encoder, which is used as it stands and not copied.
        num_classes: of the head.
        pooling: "mean" (of the patches, before the final norm: He et al. 2022, appendix A.1) or
            "token".
        drop_path: share of residual branches left out at the last block, less before it in
            proportion to the depth (Huang et al. 2016).

    Raises:
        ValueError: for an unknown pooling or a share outside [0, 1).
    """

    def __init__(
        self, network: MaskedViT, num_classes: int, pooling: str, drop_path: float
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS or not 0 <= drop_path < 1:
            raise ValueError(
                f"{pooling=}, {drop_path=}; expected {' or '.join(POOLINGS)}, and [0, 1)"
            )
        network.check_pooling(pooling)
        # In a list: the encoder belongs to the network's owner, whose checkpoint has its weights.
        self._network, self.pooling = [network], pooling
        self.head = nn.Linear(network.encoder.embed_dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)
        drop_paths(network.encoder, drop_path)

    def train(self, mode: bool = True) -> ViTClassifier:
        """Set the mode of the encoder too."""
        self._network[0].train(mode)
        return super().train(mode)

    @property
    def encoder(self) -> Any:
        """timm's ViT."""
        return self._network[0].encoder

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.encoder.blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``(N, num_classes)`` of images ``(N, C, H, W)`` in [-1, 1]."""
        logits: Tensor = self.head(self.pooled(images))
        return logits

    def pooled(self, images: Tensor) -> Tensor:
        """Give what the head sees, ``(N, D)``."""
        encoder = self.encoder
        tokens = encoder.patch_embed(self._network[0].normalise(images))
        tokens = run_blocks(encoder, encoder.norm_pre(encoder._pos_embed(tokens)))
        if self.pooling == "token":
            token: Tensor = encoder.norm(tokens[:, 0])
            return token
        mean: Tensor = encoder.norm(tokens[:, encoder.num_prefix_tokens :].mean(dim=1))
        return mean

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Give the parameters of encoder and head, with timm's names."""
        yield from self.encoder.named_parameters()
        yield from self.head.named_parameters("head")


def drop_paths(encoder: Any, rate: float) -> None:
    """Set the share of left-out branches of each block: ``rate`` at the last, 0 at the first."""
    shares = torch.linspace(0, rate, len(encoder.blocks)).tolist()
    for block, share in zip(encoder.blocks, shares, strict=True):
        for name in ("drop_path1", "drop_path2"):
            setattr(block, name, DropPath(share) if share else nn.Identity())
