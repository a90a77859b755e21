from __future__ import annotations

import pytest
import torch

from functional.gaussian_mixture import fit_mixture
from functional.seeding import ImageNoise
from networks.code_density import ITERATIONS, CodeDensity


def test_it_is_the_fitted_mixture_and_survives_a_checkpoint() -> None:
    codes = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) + 2
    density, restored = CodeDensity(2, 3), CodeDensity(2, 3)
    density.fit(codes)
    wanted = fit_mixture(codes, 2, torch.Generator().manual_seed(0), iterations=ITERATIONS)
    torch.testing.assert_close(
        density.sample(ImageNoise([4, 5])), wanted.sample(ImageNoise([4, 5])).float()
    )
    restored.load_state_dict(density.state_dict())
    assert torch.equal(restored.sample(ImageNoise([5])), density.sample(ImageNoise([5])))


def test_a_density_that_was_never_fitted_gives_nothing() -> None:
    density = CodeDensity(2, 3)
    assert not density.fitted
    with pytest.raises(ValueError, match="no density has been fitted"):
        density.sample(ImageNoise([0]))
