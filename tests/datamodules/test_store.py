from __future__ import annotations

import hashlib

import pytest
import torch

from datamodules.store import TensorStore, hold_out

IMAGES = torch.arange(6 * 4, dtype=torch.uint8).view(6, 1, 2, 2)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def digest(store: TensorStore) -> str:
    found = hashlib.sha256()
    store.update(found)
    return found.hexdigest()


def test_a_part_of_a_part_has_the_images_and_labels_of_the_whole() -> None:
    part = TensorStore(IMAGES, LABELS).subset(torch.tensor([5, 3, 1]))
    inner = part.subset(torch.tensor([2, 0]))
    assert torch.equal(inner.pixels(torch.arange(2)), IMAGES[[1, 5]])
    assert inner.labels.tolist() == [1, 2]
    assert inner.images.data_ptr() == IMAGES.data_ptr()


def test_digest_sees_pixels_labels_and_order_but_not_how_they_are_kept() -> None:
    store = TensorStore(IMAGES, LABELS)
    assert digest(store.subset(torch.arange(3))) == digest(TensorStore(IMAGES[:3], LABELS[:3]))
    others = TensorStore(IMAGES, LABELS.flip(0)), store.subset(torch.arange(6).flip(0))
    assert len({digest(other) for other in (store, *others)}) == 3


def test_held_out_positions_and_the_rest_are_all_positions_in_rising_order() -> None:
    kept, held_out = hold_out(100, 30)
    assert (len(kept), len(held_out)) == (70, 30)
    for part in (kept, held_out):
        assert (part.diff() > 0).all()
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(100))
    assert held_out.tolist() != list(range(30))


@pytest.mark.parametrize("held_out", [-1, 101])
def test_more_than_there_is_cannot_be_held_out(held_out: int) -> None:
    with pytest.raises(ValueError, match=f"validation_size={held_out} must lie between 0 and 100"):
        hold_out(100, held_out)
