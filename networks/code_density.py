"""A density of points, such as an autoencoder's codes, kept with the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from functional.gaussian_mixture import GaussianMixture, Noise, fit_mixture

ITERATIONS = 30


class CodeDensity(nn.Module):
    """A mixture of Gaussians as buffers, all zero until it is fitted.

    Args:
        components: K.
        code: length of a code.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, components: int, code: int) -> None:
        super().__init__()
        shapes = {"weights": (), "means": (code,), "factors": (code, code)}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(components, *shape, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether there is a density to draw from."""
        return bool(self.weights.any())

    def fit(self, codes: Tensor, seed: int = 0) -> None:
        """Fit the mixture to ``codes`` ``(N, D)``; equal codes give an equal mixture."""
        generator = torch.Generator().manual_seed(seed)
        found = fit_mixture(codes, len(self.weights), generator, iterations=ITERATIONS)
        for name, buffer in self.named_buffers():
            buffer.copy_(getattr(found, name))

    def sample(self, noise: Noise) -> Tensor:
        """Give codes ``(N, D)``, float32, of normal noise.

        Raises:
            ValueError: where the mixture has not been fitted.
        """
        if not self.fitted:
            raise ValueError(
                "no density has been fitted to training images yet; it is at each validation of a "
                "run, so validate once, or take a checkpoint of a later moment"
            )
        return GaussianMixture(self.weights, self.means, self.factors).sample(noise).float()
