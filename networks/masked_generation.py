"""Images from noise by a masked autoencoder, in two ways that its paper does not claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from functional.iterative_masking import reveal, visible_counts
from functional.masking import Noise, draw_mask, random_mask
from functional.patches import gather_patches, hidden_patches
from functional.principal_axes import PrincipalAxes, principal_axes
from functional.seeding import ImageNoise, image_seeds
from networks.code_density import CodeDensity
from networks.masked_vit import MaskedViT

GENERATIONS = ("none", "iterative", "latent")
CLAIM = "not claimed by the paper"
LEVELS, LEVEL_IMAGES = 5, 500
"""How many numbers of known patches errors are measured at, and on how many images."""


class Sampling:
    """How a masked autoencoder makes images.

    Args:
        rounds: of the iterative generator, 8 to 16; each predicts all patches and keeps some.
        temperature: what is kept is the prediction and this many standard deviations of its error.
        components: Gaussians of the mixture that first patches, or latent codes, are drawn from.
        axes: principal axes of the latent codes that the mixture is on.
        images: training images that the mixture is fitted to, at most.
    """

    def __init__(
        self, rounds: int, temperature: float, components: int, axes: int, images: int
    ) -> None:
        if min(rounds, components, axes) < 1 or images < 2 or temperature < 0:
            raise ValueError(
                f"{rounds=}, {components=}, {axes=}, {images=}, {temperature=}: expected 1 or "
                "more, 2 images or more and a temperature of 0 or more"
            )
        self.rounds, self.temperature = rounds, temperature
        self.components, self.axes, self.images = components, axes, images


def check_generation(
    generation: str,
    normalised_targets: bool,
    ratio_range: Sequence[float] | None,
    loss_on_all: bool,
) -> None:
    """Refuse a generation that the model is not trained for, with a ValueError that says why."""
    if generation not in GENERATIONS:
        raise ValueError(f"unknown {generation=}; known: {', '.join(GENERATIONS)}")
    if generation == "none":
        return
    if normalised_targets:
        raise ValueError(
            f"{generation=} needs raw pixels: of a normalised patch the brightness and contrast "
            "are not known, and there is no image to take them from; set normalised_targets=False"
        )
    if generation == "iterative" and ratio_range is None:
        raise ValueError(
            "generation='iterative' begins with one patch and ends with all of them, and the model "
            "must have seen every share of them; set ratio_range=[0, 1]"
        )
    if generation == "latent" and not loss_on_all:
        raise ValueError(
            "generation='latent' takes all patches from the decoder, which learns to predict "
            "visible ones only with loss_on_all=True"
        )


class Generator(nn.Module):
    """What makes images from noise through a network, with a density fitted to training images.

    Attributes:
        settings: see :class:`Sampling`.
        fitted_at: training images that the network had seen when the density was fitted, or -1.
    """

    at: Tensor

    def __init__(self, settings: Sampling) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("at", torch.tensor(-1))

    @property
    def fitted_at(self) -> int:
        return int(self.at)

    def check_fitted_at(self, images_seen: int) -> None:
        """Refuse a density of other weights than the network's with a ValueError."""
        if self.fitted_at != images_seen:
            when = f"after {self.fitted_at:,} images" if self.fitted_at >= 0 else "not at all"
            raise ValueError(
                f"the density that images are drawn from was fitted {when}, and these weights have "
                f"seen {images_seen:,}; take checkpoint=best, or resume the run to its next "
                "validation, which fits it"
            )

    @torch.no_grad()
    def fit(self, network: MaskedViT, chunks: Iterable[Tensor], images_seen: int) -> None:
        """Fit the density to training images, chunks ``(N, C, H, W)`` in [-1, 1]."""
        self.fit_density(network, chunks)
        self.at.fill_(images_seen)

    def fit_density(self, network: MaskedViT, chunks: Iterable[Tensor]) -> None:
        """Fit what a generator keeps of training images; equal images and weights give the same."""
        raise NotImplementedError

    def sample(self, network: MaskedViT, noise: Noise) -> Tensor:
        """Give images ``(N, C, H, W)`` in [-1, 1]; image i is of its own noise alone."""
        raise NotImplementedError

    def record(self) -> dict[str, Any]:
        """Give the fields of the protocol record."""
        raise NotImplementedError


class IterativeGenerator(Generator):
    """A first patch from a density, then more in each round ("MAE-iterative").

    Patches become known in an order that each image's seed draws. Their values are drawn around
    the prediction with the covariance that its error had on training images where about as many
    patches were known: Gaussian, whose mean the squared error trains.

    Args:
        network: of which images are asked; it is not kept.
        settings: see :class:`Sampling`.

    Raises:
        ValueError: for more rounds than patches to add.
    """

    residuals: Tensor

    def __init__(self, network: MaskedViT, settings: Sampling) -> None:
        super().__init__(settings)
        self.counts = visible_counts(network.patches, settings.rounds)
        # Of any number of rounds: a trained model may be sampled in another.
        self.levels = visible_counts(network.patches, min(LEVELS, network.patches - 1))[:-1]
        values = network.channels * network.patch[0] * network.patch[1]
        self.first = CodeDensity(settings.components, values + 2)
        residuals = torch.zeros(len(self.levels), values, values, dtype=torch.float64)
        self.register_buffer("residuals", residuals)

    def fit_density(self, network: MaskedViT, chunks: Iterable[Tensor]) -> None:
        """Fit the density of first patches, with their places, and the errors' covariances."""
        step, start, first = -(-self.settings.images // LEVEL_IMAGES), 0, []
        squares = torch.zeros_like(self.residuals)
        counts = [0] * len(self.levels)
        for images in chunks:
            numbers = range(start, start + len(images))
            start += len(images)
            first.append(_first_patches(network, images, numbers))
            for level, known in enumerate(self.levels):
                error = _hidden_errors(network, images[::step], numbers[::step], known)
                squares[level] += error.T @ error
                counts[level] += len(error)
        self.first.fit(torch.cat(first))
        ridge = 1e-6 * torch.eye(squares.shape[1], device=squares.device)
        for level, count in enumerate(counts):
            self.residuals[level] = torch.linalg.cholesky(squares[level] / count + ridge)

    def sample(self, network: MaskedViT, noise: Noise) -> Tensor:
        first = self.first.sample(noise)
        span = _span(network, first)
        where = (first[:, -2:] * span).round().long().clamp(min=0)
        where = torch.minimum(where, span.long() - 1)
        place = where[:, :1] * network.grid[1] + where[:, 1:]
        order = noise(network.patches).scatter(1, place, -torch.inf).argsort(dim=1)
        start = first.new_zeros(len(first), network.patches, first.shape[1] - 2)
        start[torch.arange(len(first)), place[:, 0]] = first[:, :-2]

        def predict(patches: Tensor, visible: Tensor) -> Tensor:
            predicted: Tensor = network(network.to_images(patches).clamp(-1, 1), visible)
            return predicted.float()

        def draw(predicted: Tensor, known: int) -> Tensor:
            level = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - known))
            deviation = noise(*predicted.shape[1:]).double() @ self.residuals[level].T
            return predicted + self.settings.temperature * deviation.float()

        patches = reveal(start, order, self.counts, predict, draw)
        return network.to_images(patches).clamp(-1, 1)

    def record(self) -> dict[str, Any]:
        temperature = self.settings.temperature
        return {
            "sampler": f"MAE-iterative ({CLAIM}), temperature {temperature:g}",
            "spacing": "cosine",
            "nfe": self.settings.rounds,
        }


def _first_patches(network: MaskedViT, images: Tensor, numbers: Sequence[int]) -> Tensor:
    """Give a patch of each image and its place ``(N, D + 2)``, drawn by the image's number."""
    place = random_mask(network.grid, 1, ImageNoise(image_seeds(0, numbers), images.device))
    where = torch.cat([place // network.grid[1], place % network.grid[1]], dim=1)
    patch = gather_patches(network.targets(images), place)[:, 0]
    return torch.cat([patch, where / _span(network, where)], dim=1)


def _hidden_errors(
    network: MaskedViT, images: Tensor, numbers: Sequence[int], known: int
) -> Tensor:
    """Give the errors ``(M, D)``, float64, of hidden patches where ``known`` ones are visible."""
    noise = ImageNoise(image_seeds(known, numbers), images.device)
    visible = random_mask(network.grid, known, noise)
    predicted: Tensor = network(images, visible).float()
    errors = (network.targets(images) - predicted).double()
    return errors[hidden_patches(visible, network.patches)]


def _span(network: MaskedViT, like: Tensor) -> Tensor:
    """Give (rows, columns), by which places become numbers in [0, 1)."""
    return torch.tensor(network.grid, device=like.device, dtype=torch.float32)


class LatentGenerator(Generator):
    """Latent codes from a density, then the decoder ("MAE-latent").

    A code is the encoder's output for the patches that one fixed mask leaves visible, on the
    principal axes of the training images' codes.

    Args:
        network: of which images are asked; it is not kept.
        settings: see :class:`Sampling`.
        mask, mask_ratio: of the fixed mask, drawn from seed 0.
    """

    visible: Tensor
    mean: Tensor
    axes: Tensor

    def __init__(
        self, network: MaskedViT, settings: Sampling, mask: str, mask_ratio: float
    ) -> None:
        super().__init__(settings)
        visible = draw_mask(mask, network.grid, mask_ratio, ImageNoise([0]))
        self.register_buffer("visible", visible, persistent=False)
        with torch.no_grad():
            tokens = network.encode(torch.zeros(1, network.channels, *network.image_size), visible)
        self.shape = tuple(tokens.shape[1:])
        self.density = CodeDensity(settings.components, settings.axes)
        mean = torch.zeros(tokens.numel(), dtype=torch.float64)
        self.register_buffer("mean", mean)
        self.register_buffer("axes", mean.new_zeros(len(mean), settings.axes))

    def fit_density(self, network: MaskedViT, chunks: Iterable[Tensor]) -> None:
        """Fit axes and density to the codes of training images."""
        codes = torch.cat(
            [
                network.encode(images, self.visible.expand(len(images), -1)).flatten(1).float()
                for images in chunks
            ]
        )
        found = principal_axes(codes, self.settings.axes)
        self.mean.copy_(found.mean)
        self.axes.copy_(found.axes)
        self.density.fit(found.project(codes.double()))

    def sample(self, network: MaskedViT, noise: Noise) -> Tensor:
        coordinates = self.density.sample(noise).double()
        codes = PrincipalAxes(self.mean, self.axes).restore(coordinates)
        tokens = codes.float().view(-1, *self.shape)
        patches = network.decode(tokens, self.visible.expand(len(tokens), -1))
        return network.to_images(patches).clamp(-1, 1)

    def record(self) -> dict[str, Any]:
        density = f"{self.settings.components} Gaussians on {self.settings.axes} axes"
        return {"sampler": f"MAE-latent ({CLAIM}), {density}", "nfe": 1}


def make_generator(
    generation: str, network: MaskedViT, settings: Sampling | None, mask: str, mask_ratio: float
) -> Generator | None:
    """Give the generator of that name; None for "none".

    Raises:
        ValueError: where settings are needed and missing.
    """
    if generation == "none":
        return None
    if settings is None:
        raise ValueError(f"{generation=} needs its settings; give sampling")
    if generation == "iterative":
        return IterativeGenerator(network, settings)
    return LatentGenerator(network, settings, mask, mask_ratio)
