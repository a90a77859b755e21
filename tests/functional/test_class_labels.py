from __future__ import annotations

import pytest
import torch

from functional.class_labels import drop_labels, labels_of


def test_without_labels_a_seed_draws_its_class() -> None:
    labels = labels_of([12, 3, 25], None, 10)
    assert labels is not None and labels.tolist() == [2, 3, 5]
    assert labels_of([12, 3], None, 0) is None
    asked = torch.tensor([1, 1])
    assert labels_of([12, 3], asked, 10) is asked


def test_labels_that_the_model_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="trained without labels"):
        labels_of([1], torch.tensor([0]), 0)
    with pytest.raises(ValueError, match="lie in -1 to 10; this model knows 0 to 9"):
        labels_of([1, 2], torch.tensor([-1, 10]), 10)


def test_a_share_of_labels_is_left_out_and_the_others_stay() -> None:
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(1000)
    dropped = drop_labels(labels, 0.2, null=10)
    assert float((dropped == 10).float().mean()) == pytest.approx(0.2, abs=0.015)
    assert torch.equal(dropped[dropped != 10], labels[dropped != 10])
    assert torch.equal(drop_labels(labels, 0.0, null=10), labels)
    assert (drop_labels(labels, 1.0, null=10) == 10).all()
