from __future__ import annotations

import torch

from networks.cnn_features import CNNFeatures


def test_the_default_network_has_the_stated_parameters_and_shapes() -> None:
    network = CNNFeatures().eval()
    assert sum(p.numel() for p in network.parameters()) == 463_594
    features, logits = network(torch.rand(3, 1, 28, 28) * 2 - 1)
    assert features.shape == (3, 128)
    assert logits.shape == (3, 10)


def test_features_have_zero_mean_and_unit_variance_in_training() -> None:
    torch.manual_seed(0)
    features, _ = CNNFeatures(channels=3, width=4, dim=8)(torch.randn(64, 3, 12, 12))
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(dim=0, correction=0), torch.ones(8), atol=0.05, rtol=0)


def test_half_precision_weights_rebuild_the_same_classifier() -> None:
    torch.manual_seed(0)
    network = CNNFeatures(width=4, dim=8).eval()
    state = network.half_precision_state()
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    other = CNNFeatures(width=4, dim=8).eval()
    other.load_state_dict({name: t.float() for name, t in state.items()}, strict=False)
    images = torch.rand(5, 1, 12, 12)
    for a, b in zip(other(images), network(images), strict=True):
        torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)
