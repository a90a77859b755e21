"""The augmentation of supervised training of ViTs, most of it timm's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from functional.images import to_float, to_uint8


def random_resized_crop(images: Tensor, scale: Sequence[float]) -> Tensor:
    """Give each of ``images`` ``(N, C, H, W)`` in [-1, 1] cropped and resized to its own size.

    The crop has a share of the area within ``scale`` and an aspect of 3/4 to 4/3 (Szegedy et al.
    2015); bicubic as in He et al. (2022).
    """
    size = list(images.shape[2:])
    cropped = []
    for image in images:
        place = RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
        cropped.append(resized_crop(image, *place, size, InterpolationMode.BICUBIC, antialias=True))
    return torch.stack(cropped).clamp(-1, 1)


class SupervisedAugment:
    """Crops, RandAugment, random erasing, mixup, cutmix and label smoothing, each where asked for.

    All randomness follows torch's global generator: timm draws from NumPy's and Python's, which
    are seeded from it at each call, so that a resumed run draws the same.

    Args:
        crop_scale: smallest and largest share of the area of :func:`random_resized_crop`, or None.
        rand_augment: timm's name of a RandAugment, such as ``rand-m9-mstd0.5-inc1``; it works image
            by image on the CPU. None leaves it out.
        erasing: probability of erasing a rectangle (Zhong et al. 2020), filled with noise.
        mixup, cutmix: alpha of the Beta distributions; 0 leaves it out. With both, one is drawn for
            each batch.
        smoothing: share of a target spread evenly over the classes, in [0, 1).

    Raises:
        ValueError: for a number out of its range.
    """

    def __init__(
        self,
        crop_scale: Sequence[float] | None,
        rand_augment: str | None,
        erasing: float,
        mixup: float,
        cutmix: float,
        smoothing: float,
    ) -> None:
        if not 0 <= erasing <= 1 or not 0 <= smoothing < 1 or min(mixup, cutmix) < 0:
            raise ValueError(
                f"{erasing=}, {smoothing=}, {mixup=}, {cutmix=}: expected probabilities in [0, 1] "
                "and alphas of 0 or more"
            )
        if crop_scale is not None and not 0 < crop_scale[0] <= crop_scale[-1] <= 1:
            raise ValueError(f"crop_scale={list(crop_scale)}; expected two shares in (0, 1]")
        self.crop_scale, self.rand_augment = crop_scale, rand_augment
        self.erasing, self.mixup, self.cutmix, self.smoothing = erasing, mixup, cutmix, smoothing
        self._randomly: Any = None
        if rand_augment is not None:
            self._randomly = rand_augment_transform(rand_augment, {"translate_const": 100})

    @property
    def leaves_images(self) -> bool:
        """Whether images stay as they are."""
        mixes = self.mixup > 0 or self.cutmix > 0
        return not (mixes or self.erasing or self.crop_scale or self.rand_augment)

    def __call__(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Give images as the network learns from them and targets ``(N, num_classes)`` of sum 1.

        Args:
            images: ``(N, C, H, W)`` in [-1, 1]; they are left as they are.
            labels: int64 ``(N,)``.
            num_classes: number of classes.
        """
        _seed_from_torch()
        if self.crop_scale is not None:
            images = random_resized_crop(images, self.crop_scale)
        if self._randomly is not None:
            images = torch.stack([self._augmented(image) for image in images])
        if self.erasing:
            erase: Any = RandomErasing(  # type: ignore[no-untyped-call]
                self.erasing, mode="pixel", device=str(images.device)
            )
            images = erase(images.clone())
        if self.mixup > 0 or self.cutmix > 0:
            return self._mixed(images, labels, num_classes)
        smooth = F.one_hot(labels, num_classes).float() * (1 - self.smoothing)
        return images, smooth + self.smoothing / num_classes

    def _mixed(self, images: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        if len(images) % 2:
            raise ValueError(
                f"mixup takes pairs, and a process has {len(images)} images of a batch; make "
                "data.batch_size even for each process"
            )
        mix: Any = Mixup(  # type: ignore[no-untyped-call]
            mixup_alpha=self.mixup,
            cutmix_alpha=self.cutmix,
            label_smoothing=self.smoothing,
            num_classes=num_classes,
        )
        mixed: tuple[Tensor, Tensor] = mix(images.clone(), labels)
        return mixed

    def _augmented(self, image: Tensor) -> Tensor:
        pixels = to_uint8(image).cpu().movedim(0, 2).numpy()
        grey = pixels.shape[2] == 1
        picture = Image.fromarray(pixels[..., 0] if grey else pixels).convert("RGB")
        changed = np.asarray(self._randomly(picture).convert("L" if grey else "RGB"))
        tensor = torch.from_numpy(changed.copy()).reshape(pixels.shape).movedim(2, 0)
        return to_float(tensor).to(image.device)


def _seed_from_torch() -> None:
    seed = int(torch.randint(2**31, ()))
    random.seed(seed)
    np.random.seed(seed)
