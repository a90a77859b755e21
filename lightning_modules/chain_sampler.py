"""Sampling by chains of a denoising autoencoder, or from a density of its codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from functional.chain_sampling import ChainSampling
from functional.chains import (
    Trace,
    annealed_langevin,
    geometric_levels,
    renoising_stds,
    uniform_start,
    walkback,
)
from functional.corruption import RANGE, Corruption
from functional.images import to_float
from functional.masking import Noise
from functional.operators import Operator
from functional.reconstruction import check_density
from functional.seeding import ImageNoise
from lightning_modules.base import ImageModule
from networks.code_density import CodeDensity

CODES = 5000
"""Training images, at most, whose codes the mixture of Gaussians is fitted to."""


class ChainSampler(ImageModule):
    """A method that restores what a corruption did, and so can be run as a chain from noise.

    Attributes:
        sampling: how; without a sampler nothing is sampled.
        walkback: as trained; see the method.
        conditional: whether the model is told the level of noise.
    """

    network: nn.Module
    corruption: Corruption
    sampling: ChainSampling
    walkback: int
    conditional: bool
    loss_name: str
    density: CodeDensity | None

    # What the method provides

    def corrupt(self, images: Tensor, noise: Noise) -> tuple[Tensor, Operator]:
        """Give ``images`` corrupted as in training, and what corrupted them."""
        raise NotImplementedError

    def draw(self, corrupted: Tensor, noise: Noise) -> Tensor:
        """Give images drawn from P(x | corrupted x)."""
        raise NotImplementedError

    def denoise(self, corrupted: Tensor, level: Tensor) -> Tensor:
        """Give the estimate of the clean images; ``level`` ``(N,)`` for images in [0, 1]."""
        raise NotImplementedError

    # What it gets

    def prepare_sampling(self) -> None:
        """Refuse a sampler that the model was not trained for; hold what the sampler needs.

        Raises:
            ValueError: saying how to train such a model.
        """
        sampler, self.density = self.sampling.sampler, None
        if sampler == "walkback":
            self._check_walkback()
        if sampler == "langevin":
            renoising_stds(self._levels(), self.sampling.repeats, self.sampling.step_size)
        if sampler == "codes":
            if "features" not in self.capabilities:
                raise ValueError(
                    f"{type(self.network).__name__} has no codes to sample; choose a network with "
                    "a code (denoiser@method.network=conv), or sampler=langevin"
                )
            code = self.features(torch.zeros(1, *self.image_shape)).shape[1]
            self.density = CodeDensity(self.sampling.components, code)
        absent = {None: {"sample", "chain"}, "codes": {"chain"}}.get(sampler, set())
        self.capabilities = self.capabilities - absent

    def _check_walkback(self) -> None:
        if self.walkback == 0:
            raise ValueError(
                "this model was not trained for walkback (method.walkback=0), and from noise its "
                "chain ends among spurious images; train one by python train.py "
                "experiment=quick/dae_walkback, or with method.walkback=3 and a loss that is a "
                "density"
            )
        check_density(self.loss_name)

    def _levels(self) -> Tensor:
        """Give the standard deviations of Langevin's levels, falling."""
        low, high = getattr(self.corruption, "bounds", (0.0, 0.0))
        if not self.conditional or not 0 < low < high:
            raise ValueError(
                "annealed Langevin needs a model that is told its level of noise, over a range of "
                "levels above 0; train one by python train.py experiment=quick/dae_langevin, or "
                "with method.conditional=true and corruption@method.corruption=gaussian_range"
            )
        return RANGE * geometric_levels(high, low, self.sampling.steps)

    def lacking(self, capability: str) -> str:
        if capability != "sample":
            return super().lacking(capability)
        return (
            "this denoising autoencoder was trained to restore and not to make images from noise "
            "(method.sampling.sampler=null); train one by python train.py "
            "experiment=quick/dae_langevin or experiment=quick/dae_walkback"
        )

    def on_validation_start(self) -> None:
        self._fit_codes()

    def on_test_start(self) -> None:
        self._fit_codes()

    def _fit_codes(self) -> None:
        """Fit the density to codes of training images; each process does, and gets the same."""
        if self.density is None:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        # Every k-th image: those of a folder come class by class.
        step = -(-data.split_size("train") // CODES)
        batches = data.uint8_batches("train", self.chunk_size, 0, step)
        codes = [self.features(to_float(images.to(self.device))) for images in batches]
        self.density.fit(torch.cat(codes))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seeds: Sequence[int],
        labels: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Tensor:
        """Give ``(n, C, H, W)`` images from noise, a chain each, of ``seeds[i]`` only.

        Raises:
            ValueError: for labels, another number of seeds, or a model without a sampler.
        """
        if len(seeds) != n:
            raise ValueError(f"{n} images need {n} seeds, got {len(seeds)}")
        if labels is not None:
            raise ValueError("this model was trained without labels; sample without labels")
        noise, settings = ImageNoise(seeds, self.device), self.sampling
        trace = trace or self.watcher
        if settings.sampler == "walkback":
            start = uniform_start(noise, self.image_shape)
            images = walkback(
                lambda x: self.corrupt(x, noise)[0],
                lambda x: self.draw(x, noise),
                start,
                settings.steps,
                trace,
            )
        elif settings.sampler == "langevin":
            stds = self._levels()
            start = float(stds[0]) * noise(*self.image_shape)
            images = annealed_langevin(
                self._told, start, stds, settings.repeats, settings.step_size, noise, trace
            )
        elif self.density is not None:
            images = self.decode(self.density.sample(noise))
        else:
            raise ValueError(self.lacking("sample"))
        return images.clamp(-1, 1)

    def _told(self, noisy: Tensor, std: float) -> Tensor:
        return self.denoise(noisy, torch.full((len(noisy),), std / RANGE))

    def decode(self, code: Tensor) -> Tensor:
        """Give the images of codes ``(N, D)``."""
        raise NotImplementedError

    @torch.no_grad()
    def chain(self, seeds: Sequence[int], frames: int = 8) -> Tensor:
        """Give ``(N, frames, C, H, W)``: images along the chain, the last of them the sample."""
        seen: list[Tensor] = []

        def keep(step: int, state: Tensor, shown: Tensor) -> None:
            seen.append(shown.clamp(-1, 1))

        last = self.sample(len(seeds), seeds=seeds, trace=keep)
        picked = [seen[i] for i in torch.linspace(0, len(seen) - 1, frames - 1).long().tolist()]
        return torch.stack([*picked, last], dim=1)

    def sampling_record(self) -> dict[str, Any]:
        return self.sampling.record()
