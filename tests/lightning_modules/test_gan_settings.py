from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from functional.augment import AdaptiveProbability
from tests.lightning_modules.test_gan import PENALTIES, Discriminator, Generator, gan
from tests.lightning_modules.tiny import SIZE, data, trainer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "hing"}, "unknown adversarial loss 'hing'; known: minimax"),
        ({"n_critic": 0}, "n_critic=0; expected more than 0"),
        ({"micro_batches": 0}, "micro_batches=0"),
        ({"weight_clip": 0.0}, "weight_clip=0.0; expected more than 0"),
        ({"gradient_clip": -1.0}, "gradient_clip=-1.0; expected more than 0"),
        ({"truncation": 0.0}, "truncation=0.0; expected more than 0"),
        ({"adaptive": AdaptiveProbability(0.6, 80)}, "set augment to some of color"),
        (
            {"adaptive": AdaptiveProbability(0.6, 80), "augment": "color", "loss": "relativistic"},
            "loss=non_saturating",
        ),
        ({"augment": "colour"}, "'colour'"),
        ({"decay": "exponential"}, "'exponential'; known"),
        ({"penalties": PENALTIES[:1], "compile_discriminator": True}, "compile the generator"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        gan(**changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"micro_batches": 3}, "a batch of 8 images does not divide into method.micro_batches=3"),
        ({"generator": Generator(num_classes=3)}, "num_classes=3, but the data has 2"),
    ],
)
def test_data_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gan(**changes).check_data(data(), 1)


def test_a_penalty_on_batch_norm_over_processes_is_refused() -> None:
    d = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def check(sync: object, world_size: int, **changes: Any) -> None:
        strategy = SimpleNamespace(_layer_sync=sync)
        given: Any = SimpleNamespace(
            gradient_clip_val=None, accumulate_grad_batches=1, strategy=strategy,
            world_size=world_size,
        )  # fmt: skip
        gan(**{"discriminator": d, "penalties": PENALTIES[:1], **changes}).check_trainer(given)

    check(None, 2), check(object(), 1), check(object(), 2, penalties=[])
    check(object(), 2, discriminator=Discriminator())
    with pytest.raises(ValueError, match="sync_batchnorm=false"):
        check(object(), 2)


@pytest.mark.parametrize(
    ("setting", "own"),
    [
        ({"gradient_clip_val": 1.0}, "method.gradient_clip=1.0"),
        ({"accumulate_grad_batches": 2}, "method.micro_batches=2"),
    ],
)
def test_settings_of_the_trainer_point_to_the_methods_own(
    tmp_path: Path, setting: dict[str, Any], own: str
) -> None:
    with pytest.raises(ValueError) as caught:
        gan().check_trainer(trainer(tmp_path, [], **setting))
    assert own in str(caught.value)
