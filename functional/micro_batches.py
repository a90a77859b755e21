"""A batch in parts, whose gradients add up to the whole batch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def check_parts(images: int, parts: int) -> None:
    """Refuse a batch, of one process, that does not divide into equal parts (ValueError)."""
    if images % parts:
        raise ValueError(
            f"a batch of {images} images does not divide into "
            f"method.micro_batches={parts}; choose a divisor"
        )


def split(parts: int, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Yield ``parts`` tuples of equal shares of tensors of one length; None stays None.

    Raises:
        ValueError: where the length does not divide.
    """
    for tensor in tensors:
        if tensor is not None:
            check_parts(len(tensor), parts)
    chunks = [[None] * parts if t is None else t.chunk(parts) for t in tensors]
    yield from zip(*chunks, strict=True)
