"""Images as sequences of patches, their targets and the loss of He et al. (2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# A pair (rows, columns) or (height, width), rows and height first.
Pair = tuple[int, int]


def patch_grid(size: Pair, patch: Pair) -> Pair:
    """Give how many patches of ``patch`` pixels lie below and beside each other in ``size``.

    Raises:
        ValueError: where they do not cover the image exactly.
    """
    for name, pixels, side in zip(("height", "width"), size, patch, strict=True):
        if side < 1 or pixels % side or pixels < side:
            fitting = [d for d in range(1, pixels + 1) if pixels % d == 0]
            raise ValueError(
                f"an image {name} of {pixels} pixels does not divide into patches of {side}; "
                f"choose a patch among {', '.join(map(str, fitting))}, or another image size"
            )
    return size[0] // patch[0], size[1] // patch[1]


def patchify(images: Tensor, patch: Pair) -> Tensor:
    """Give the patches ``(N, L, C * height * width)`` of images ``(N, C, H, W)``.

    Patches come row by row. Within one, channels come first, as in the weight of the convolution
    by which a ViT embeds it.
    """
    n, c = images.shape[:2]
    rows, columns = patch_grid((images.shape[2], images.shape[3]), patch)
    cut = images.reshape(n, c, rows, patch[0], columns, patch[1])
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, -1)


def unpatchify(patches: Tensor, patch: Pair, size: Pair) -> Tensor:
    """Give the images ``(N, C, *size)`` of which ``patches`` are the :func:`patchify`."""
    rows, columns = patch_grid(size, patch)
    cut = patches.reshape(len(patches), rows, columns, -1, *patch)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, *size)


def gather_patches(patches: Tensor, visible: Tensor) -> Tensor:
    """Give the patches ``(N, K, D)`` of ``(N, L, D)`` that ``visible`` ``(N, K)`` lists."""
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    return patches[rows, visible]


def hidden_patches(visible: Tensor, patches: int) -> Tensor:
    """Give bool ``(N, patches)``, True for patches that ``visible`` ``(N, K)`` does not list."""
    everything = torch.ones(len(visible), patches, dtype=torch.bool, device=visible.device)
    return everything.scatter(1, visible, False)


def visible_patches(hidden: Tensor) -> Tensor:
    """Give the places ``(N, K)`` of the patches that are not ``hidden``, bool ``(N, L)``, in order.

    Raises:
        ValueError: where no patch is visible, or not as many in every image.
    """
    counts = sorted(set((~hidden).sum(dim=1).tolist()))
    if len(counts) != 1 or counts[0] == 0:
        raise ValueError(
            f"masks with {', '.join(map(str, counts))} visible patches: expected the same number "
            "in every image of a batch, and at least 1"
        )
    return (~hidden).nonzero()[:, 1].view(len(hidden), counts[0])


def patches_of_pixels(mask: Tensor, patch: Pair) -> Tensor:
    """Give bool ``(N, L)``: patches of which ``mask``, bool ``(N, 1, H, W)``, hides any pixel."""
    return patchify(mask, patch).any(dim=2)


def pixels_of_patches(hidden: Tensor, patch: Pair, size: Pair) -> Tensor:
    """Give bool ``(N, 1, *size)``: the pixels of the patches that are ``hidden``, ``(N, L)``."""
    return unpatchify(hidden[:, :, None].expand(-1, -1, patch[0] * patch[1]), patch, size)


class PatchStatistics(NamedTuple):
    """``mean`` and ``std`` of the values of each patch over all channels, ``(N, L, 1)`` each."""

    mean: Tensor
    std: Tensor

    def normalise(self, patches: Tensor) -> Tensor:
        """Give patches ``(N, L, D)`` of mean 0 and variance 1; a constant patch becomes 0."""
        return (patches - self.mean) / self.std

    def undo(self, normalised: Tensor) -> Tensor:
        """Give the patches of which ``normalised`` are the :meth:`normalise`."""
        return normalised * self.std + self.mean


def patch_statistics(patches: Tensor, eps: float = 1e-6) -> PatchStatistics:
    """Give the statistics by which He et al. (2022, section 4.1) normalise targets.

    The variance is the unbiased one (over D - 1), which the published weights were trained with:
    a decoder that is loaded from them gives patches on this scale.

    Args:
        patches: ``(N, L, D)``.
        eps: added to the variance, so that a constant patch stays finite.

    Raises:
        ValueError: for patches of one value, which have no variance.
    """
    if patches.shape[-1] < 2:
        raise ValueError("a patch of one value has no variance; use larger patches or raw pixels")
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return PatchStatistics(mean, (variance + eps).sqrt())


def reconstruction_loss(prediction: Tensor, target: Tensor, hidden: Tensor | None) -> Tensor:
    """Give the mean squared error per image, ``(N,)``.

    Args:
        prediction, target: patches ``(N, L, D)``.
        hidden: bool ``(N, L)``, the patches that count (He et al. 2022, section 3), at least one of
            each image; None counts all of them (the paper's ablation in a footnote there).
    """
    per_patch = F.mse_loss(prediction, target, reduction="none").mean(dim=2)
    if hidden is None:
        return per_patch.mean(dim=1)
    return (per_patch * hidden).sum(dim=1) / hidden.sum(dim=1)


def psnr(images: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Give the peak signal-to-noise ratio in dB per image, ``(N,)``, over the pixels of ``mask``.

    Args:
        images, truth: ``(N, C, H, W)`` in [-1, 1], so the peak is 2.
        mask: bool ``(N, 1, H, W)``, the pixels that count.
    """
    squared = (images - truth).square() * mask
    error = squared.sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * images.shape[1])
    return 10 * torch.log10(4 / error.clamp_min(1e-10))
