"""Rows of all processes on rank 0, and one result for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def is_distributed() -> bool:
    """Say whether this process is one of a torch.distributed job."""
    return distributed.is_available() and distributed.is_initialized()


def gather_rows(parts: Sequence[Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Give all ranks' rows in rank order on rank 0, CPU; other ranks get their own.

    Args:
        parts: this rank's rows, each ``(n, *shape)``; may be none.
        shape: of one row, needed where a rank has none.
        dtype: of the rows.
    """
    rows = torch.cat([torch.empty(0, *shape, dtype=dtype), *parts])
    if not is_distributed():
        return rows
    device = _device()
    count = torch.tensor([len(rows)], device=device)
    counts = [torch.zeros_like(count) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, count)
    longest = max(int(c) for c in counts)
    padded = torch.zeros(longest, *shape, dtype=dtype, device=device)
    padded[: len(rows)] = rows.to(device)
    first = distributed.get_rank() == 0
    received = [torch.empty_like(padded) for _ in counts] if first else None
    distributed.gather(padded, received, dst=0)
    if received is None:
        return rows
    return torch.cat([r[: int(c)].cpu() for r, c in zip(received, counts, strict=True)])


def broadcast_result(function: Callable[[], T]) -> T:
    """Give on all ranks what ``function`` gives on rank 0, where alone it runs.

    Raises:
        Exception: on all ranks, whatever it raised on rank 0: ranks that waited for a result of a
            rank that has ended would hang until the time-out.
    """
    if not is_distributed():
        return function()
    outcome: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:  # whatever it is, the waiting ranks need it
            outcome[1] = error
    distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def _device() -> torch.device:
    on_cuda = distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
