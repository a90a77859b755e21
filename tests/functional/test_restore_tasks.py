from __future__ import annotations

import pytest
import torch

from functional.masking import MASKS
from functional.restore_tasks import mask_task

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_of_the_seed_alone_and_hides_the_named_share(kind: str) -> None:
    task = mask_task(f"{kind}-75", (8, 12), (2, 2))
    masks = task.operator([5, 6, 7], CPU).mask
    assert masks.shape == (3, 1, 8, 12) and masks.float().mean(dim=(1, 2, 3)).tolist() == [0.75] * 3
    assert torch.equal(task.operator([6], CPU).mask, masks[1:2])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random", "expected, say, random-75"),
        ("spiral-75", "unknown kind of mask"),
        ("random-0", "hides none"),
        ("random-99", "leaves none"),
        ("random-100", "outside"),
    ],
)
def test_a_name_without_a_mask_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_task(name, (8, 8), (2, 2))
