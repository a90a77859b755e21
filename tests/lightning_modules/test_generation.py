from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from functional.images import to_uint8
from functional.seeding import image_seeds
from lightning_modules.base import ImageModule
from lightning_modules.generation import generate
from tests.lightning_modules.tiny import ddpm


def union(n: int, world_size: int, chunk_size: int, seed: int = 0) -> Tensor:
    """All images in order, each made once by some of ``world_size`` processes."""
    module = ddpm()
    module.chunk_size = chunk_size
    chunks = [
        chunk for rank in range(world_size) for chunk in generate(module, n, seed, rank, world_size)
    ]
    indices = torch.cat([chunk.indices for chunk in chunks])
    assert sorted(indices.tolist()) == list(range(n))
    return torch.cat([chunk.images for chunk in chunks])[indices.argsort()]


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_any_number_of_processes_makes_the_same_bytes(world_size: int) -> None:
    assert torch.equal(union(10, world_size, 4), union(10, 1, 4))


def test_more_images_begin_with_the_same_ones() -> None:
    assert torch.equal(union(12, 1, 4)[:8], union(8, 1, 4))


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (11, [4, 4, 3])]
)
def test_chunks_begin_at_multiples_of_their_size(n: int, sizes: list[int]) -> None:
    module = ddpm()
    module.chunk_size = 4
    chunks = list(generate(module, n, 0))
    assert [len(chunk.images) for chunk in chunks] == sizes
    assert torch.equal(torch.cat([chunk.indices for chunk in chunks]), torch.arange(n))


def test_a_process_without_a_share_makes_nothing() -> None:
    assert list(generate(ddpm(), 10, 0, rank=3, world_size=4)) == []


def test_images_are_bytes_of_what_the_model_samples_from_the_seed_of_each() -> None:
    module = ddpm()
    (chunk,) = generate(module, 3, seed=5)
    wanted = module.sample(3, seeds=image_seeds(5, range(3)))
    assert chunk.images.dtype == torch.uint8 and chunk.indices.dtype == torch.int64
    assert torch.equal(chunk.images, to_uint8(wanted))


def test_another_seed_makes_other_images() -> None:
    assert not torch.equal(union(4, 1, 4, seed=0), union(4, 1, 4, seed=1))


def test_no_images_and_methods_that_cannot_sample_are_refused() -> None:
    with pytest.raises(ValueError, match="n=0"):
        next(generate(ddpm(), 0, 0))
    with pytest.raises(ValueError, match="ImageModule cannot sample"):
        next(generate(ImageModule(), 4, 0))


class Diverged(ImageModule):
    capabilities = frozenset({"sample"})

    def sample(self, n: int, *, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        return torch.full((n, 1, 2, 2), float("nan"))


def test_images_of_a_diverged_model_become_no_bytes() -> None:
    with pytest.raises(ValueError, match="diverged"):
        next(generate(Diverged(), 4, 0))
