"""The encoder as a classifier equals timm's own."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import DropPath

from networks import vit_encoder
from networks.vit_classifier import ViTClassifier, drop_paths
from tests.lightning_modules.tiny_mae import images, network


@pytest.mark.parametrize(("pooling", "theirs"), [("mean", "avg"), ("token", "token")])
def test_logits_equal_timm_with_the_exported_weights(pooling: str, theirs: str) -> None:
    vit = network()
    classifier = ViTClassifier(vit, 3, pooling, drop_path=0.1).eval()
    torch.nn.init.normal_(classifier.head.weight)
    model = timm.create_model(
        vit.model, num_classes=3, **{**vit.timm_arguments, "global_pool": theirs}
    )
    state = {f"head.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    model.load_state_dict({**vit.encoder_state(theirs), **state}, strict=True)
    torch.testing.assert_close(classifier(images()), model.eval()(vit.normalise(images())))


def test_checkpoints_of_gradients_hold_in_fine_tuning_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    checkpointed = vit_encoder.checkpoint_seq
    monkeypatch.setattr(
        vit_encoder, "checkpoint_seq", lambda *given: calls.append(1) or checkpointed(*given)
    )
    for asked in (False, True):
        ViTClassifier(network(gradient_checkpoints=asked), 3, "mean", 0.0).train()(images())
        assert len(calls) == asked


def test_the_encoder_stays_the_owners_and_is_no_second_copy() -> None:
    vit = network()
    classifier = ViTClassifier(vit, 3, "mean", drop_path=0.0)
    assert classifier.encoder is vit.encoder
    assert set(classifier.state_dict()) == {"head.weight", "head.bias"}
    assert {"head.weight", "blocks.0.mlp.fc1.weight"} <= dict(classifier.trainable()).keys()


def test_drop_path_grows_with_the_depth_and_works_in_training_alone() -> None:
    vit = network(depth=3)
    drop_paths(vit.encoder, 0.4)
    blocks = list(vit.encoder.blocks)
    assert isinstance(blocks[0].drop_path1, torch.nn.Identity)
    shares = [b.drop_path2.drop_prob for b in blocks[1:] if isinstance(b.drop_path2, DropPath)]
    assert shares == pytest.approx([0.2, 0.4])
    classifier = ViTClassifier(vit, 3, "mean", drop_path=0.4)
    assert torch.equal(classifier.eval()(images()), classifier(images()))
    assert not torch.equal(classifier.train().pooled(images()), classifier.pooled(images()))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="pooling='max'"):
        ViTClassifier(network(), 3, "max", 0.0)
    with pytest.raises(ValueError, match="drop_path=1.0"):
        ViTClassifier(network(), 3, "mean", 1.0)
