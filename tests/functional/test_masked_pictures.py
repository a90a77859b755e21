from __future__ import annotations

import torch

from functional.masked_pictures import attention_rows, comparison


def test_a_row_is_masked_predicted_pasted_original() -> None:
    images, predicted = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -0.5)
    hidden = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, :, 2:] = True
    masked, raw, pasted, original = comparison(images, predicted, hidden).unbind(dim=1)
    assert (masked[..., :2] == 0.5).all() and (masked[..., 2:] == 0).all()
    assert torch.equal(raw, predicted) and torch.equal(original, images)
    assert (pasted[..., :2] == 0.5).all() and (pasted[..., 2:] == -0.5).all()


def test_attention_is_drawn_at_the_place_of_its_patch() -> None:
    images = torch.rand(1, 3, 4, 6)
    maps = torch.tensor([[[[0.0, 0.2], [0.4, 0.1]], [[0.3, 0.3], [0.3, 0.0]]]])
    rows = attention_rows(images, maps, (2, 3))
    assert rows.shape == (1, 3, 3, 4, 6)
    assert torch.equal(rows[:, 0], images)
    torch.testing.assert_close(rows[0, 1, 0, ::2, ::3], torch.tensor([[-1.0, 0.0], [1.0, -0.5]]))
    assert (rows[0, 2, :, :2] == 1).all() and (rows[0, 2, :, 2:, 3:] == -1).all()
