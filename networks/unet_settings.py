"""Which settings make a U-Net."""

from __future__ import annotations

from collections.abc import Sequence


def level_sizes(image_size: int, patch_size: int, multipliers: Sequence[int]) -> list[int]:
    """Give the height of every level: it halves from one to the next, odd sizes upwards."""
    sizes = [image_size // patch_size]
    while len(sizes) < len(multipliers):
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def check_attention(resolutions: Sequence[int], sizes: Sequence[int]) -> None:
    absent = [size for size in resolutions if size not in sizes]
    if absent:
        raise ValueError(
            f"attention_resolutions has {', '.join(map(str, absent))}, but the levels have heights "
            f"{', '.join(map(str, sizes))} (after patch_size); choose among these"
        )


def check_positive(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be 1 or more")


def check_settings(
    image_size: int, patch_size: int, channels: int, multipliers: Sequence[int], blocks: int
) -> None:
    check_positive(patch_size=patch_size)
    if channels < 4:
        raise ValueError(f"channels {channels} cannot hold an embedding of times; give 4 or more")
    if image_size % patch_size:
        raise ValueError(f"image_size {image_size} is not divisible by patch_size {patch_size}")
    if blocks < 1 or not multipliers:
        raise ValueError(f"need blocks >= 1 and multipliers, got {blocks} and {list(multipliers)}")
    if min(multipliers) < 1:
        raise ValueError(f"multipliers {list(multipliers)} must all be 1 or more")
    smallest = image_size / patch_size / 2 ** (len(multipliers) - 1)
    if smallest < 2:
        raise ValueError(
            f"{len(multipliers)} levels halve {image_size // patch_size} pixels below 2; "
            "give fewer multipliers or larger images"
        )
