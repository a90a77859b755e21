from __future__ import annotations

import pytest
import torch

from functional.masking import MASKS
from functional.operators import noise_level
from functional.restore_tasks import CORRUPTIONS, mask_task, restore_task

CPU = torch.device("cpu")
NAMES = [f"{kind}-{example}" for kind, (example, _) in CORRUPTIONS.items()]


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_of_the_seed_alone_and_hides_the_named_share(kind: str) -> None:
    task = mask_task(f"{kind}-75", (8, 12), (2, 2))
    masks = task.operator([5, 6, 7], CPU).mask
    assert masks.shape == (3, 1, 8, 12) and masks.float().mean(dim=(1, 2, 3)).tolist() == [0.75] * 3
    assert torch.equal(task.operator([6], CPU).mask, masks[1:2])


@pytest.mark.parametrize("name", [*NAMES, "colorize", "random-75", "box-25", "outpaint-50"])
def test_what_a_task_does_to_an_image_is_of_its_seed_alone_and_described(name: str) -> None:
    task = restore_task(name, (3, 8, 8))
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    corrupted = task.operator([5, 6, 7], CPU).apply(images)
    assert task.name == name and not torch.equal(corrupted, images)
    assert torch.equal(task.operator([6], CPU).apply(images[1:2]), corrupted[1:2])
    assert task.about.startswith(name) and task.about != name


def test_a_task_s_operator_has_what_a_restorer_may_know() -> None:
    def drawn(name: str) -> object:
        return restore_task(name, (1, 8, 8)).operator(range(4), CPU)

    assert noise_level(drawn("denoise-0.3")).tolist() == pytest.approx([0.3] * 4)
    assert drawn("inpaint-50").mask.float().mean() == 0.5
    assert drawn("deblur-1.5").sigma == 1.5
    assert drawn("super-resolve-2").factor == 2
    assert drawn("jpeg-10").quality == 10
    assert not hasattr(drawn("salt_pepper-30"), "mask")


def test_a_box_is_one_square_within_the_image_and_the_right_is_painted_out() -> None:
    masks = mask_task("box-25", (8, 12), (2, 2)).operator(range(400), CPU).mask
    assert masks.sum(dim=(1, 2, 3)).tolist() == [25] * 400
    assert {m.any(dim=side).sum().item() for m in masks[:, 0] for side in (0, 1)} == {5}
    assert masks.any(dim=0).all() and not masks.all(dim=0).any()
    (mask,) = mask_task("outpaint-25", (8, 12), (2, 2)).operator([0], CPU).mask
    assert mask[..., 9:].all() and not mask[..., :9].any()


def test_inpainting_leaves_black_at_hidden_pixels() -> None:
    operator = restore_task("inpaint-50", (1, 8, 8)).operator([0], CPU)
    assert (operator.apply(torch.ones(1, 1, 8, 8))[operator.mask] == -1).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random", "expected, say, random-75"),
        ("spiral-75", "unknown kind of mask"),
        ("random-0", "hides none"),
        ("random-99", "leaves none"),
        ("random-100", "outside"),
        ("box-100", "has side 8"),
        ("outpaint-100", "of 8 columns hide 8"),
    ],
)
def test_a_name_without_a_mask_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_task(name, (8, 8), (2, 2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sharpen-2", "unknown task 'sharpen-2'; expected, say, denoise-0.5, .*colorize or random"),
        ("denoise", "unknown task 'denoise'"),
        ("denoise-much", "unknown task 'denoise-much'"),
        ("denoise--0.5", "task 'denoise--0.5': sigma=-0.5"),
        ("inpaint-100", r"task 'inpaint-100': ratio=1.0"),
        ("super-resolve-2.5", "2.5 is no whole number"),
        ("super-resolve-3", "does not divide"),
        ("jpeg-0", "task 'jpeg-0': quality=0"),
        ("colorize", "no colour"),
        ("random-0", "hides none"),
    ],
)
def test_a_task_that_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restore_task(name, (1, 8, 8))
