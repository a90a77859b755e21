from __future__ import annotations

import torch

from tests.lightning_modules.tiny_mae import images, network


def test_gradient_checkpoints_change_memory_and_no_gradient() -> None:
    visible, gradients, kept = torch.tensor([[0, 3, 5, 9]] * 4), [], []
    for on in (False, True):
        model, saved = network(gradient_checkpoints=on, depth=4), [0]

        def pack(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(images(), visible).square().mean()
        kept.append(saved[0])
        loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert kept[1] < kept[0]
