from __future__ import annotations

import pytest
import torch

from tests.networks.test_unet import scrambled, small


def test_a_label_is_added_to_the_embedding_of_the_time() -> None:
    network = scrambled(small(num_classes=3))
    x, t = torch.randn(4, 1, 8, 8), torch.full((4,), 10.0)
    with torch.no_grad():
        outputs = network(x[:1].expand(4, -1, -1, -1), t, torch.arange(4))
        assert len(torch.unique(outputs.flatten(1), dim=0)) == 4
        network.embed_labels.weight[1] = network.embed_labels.weight[3]
        again = network(x[:1].expand(4, -1, -1, -1), t, torch.arange(4))
    torch.testing.assert_close(again[1], again[3])
    torch.testing.assert_close(again[0], outputs[0])


def test_without_classes_there_is_no_trace_of_them() -> None:
    plain, conditional = small(), small(num_classes=3)
    extra = set(conditional.state_dict()) - set(plain.state_dict())
    assert extra == {"embed_labels.weight"}
    for name, tensor in plain.state_dict().items():
        assert tensor.shape == conditional.state_dict()[name].shape


def test_labels_and_networks_that_do_not_fit_are_refused() -> None:
    x, t = torch.randn(2, 1, 8, 8), torch.ones(2)
    with pytest.raises(ValueError, match="conditional on 3 classes and got no labels"):
        small(num_classes=3)(x, t)
    with pytest.raises(ValueError, match="unconditional"):
        small()(x, t, torch.zeros(2).long())
