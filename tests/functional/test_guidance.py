from __future__ import annotations

import pytest
import torch

from functional.guidance import guide, rescale_guidance


def test_guidance_goes_beyond_the_conditional_estimate() -> None:
    conditional, unconditional = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for scale, wanted in (
        (0.0, unconditional),
        (1.0, conditional),
        (3.0, conditional + 2 * (conditional - unconditional)),
    ):
        torch.testing.assert_close(guide(conditional, unconditional, scale), wanted)


def test_rescaled_guidance_has_the_conditional_spread_in_each_image() -> None:
    conditional, guided = torch.randn(3, 1, 8, 8), 4 * torch.randn(3, 1, 8, 8) + 1
    assert torch.equal(rescale_guidance(guided, conditional, 0.0), guided)
    whole = rescale_guidance(guided, conditional, 1.0)
    torch.testing.assert_close(whole.flatten(1).std(1), conditional.flatten(1).std(1))
    half = rescale_guidance(guided, conditional, 0.5)
    torch.testing.assert_close(half, (whole + guided) / 2)
    with pytest.raises(ValueError, match=r"rescale 1\.5"):
        rescale_guidance(guided, conditional, 1.5)
