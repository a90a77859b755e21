"""Augmentation for discriminators: DiffAugment, and ADA's probability of applying it.

The same function must touch real images, fake ones and, in G's step, the images through which
G is trained: otherwise G learns to draw the augmentation (Zhao et al. 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from functional.schedule import Schedule, check_range

TRANSFORMS = ("color", "translation", "cutout")
MAX_SHIFT = 1 / 8
"""Of the image's side, either way (Zhao et al. 2020)."""
CUTOUT_SIDE = 1 / 2
"""Of the image's side (Zhao et al. 2020)."""


def parse_policy(policy: str) -> tuple[str, ...]:
    """Give the transforms that ``policy`` names, such as "color,translation,cutout"; "" is none.

    Raises:
        ValueError: for a name that is not in ``TRANSFORMS``, or one given twice.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip())
    unknown = [name for name in names if name not in TRANSFORMS]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"an augmentation policy names some of {', '.join(TRANSFORMS)}, each once and "
            f"separated by commas, got {policy!r}"
        )
    return names


def diff_augment(images: Tensor, policy: str, p: float | Tensor = 1.0) -> Tensor:
    """Give images under transforms drawn for each image, differentiable in the images.

    Zhao et al. 2020; applied in the order of ``TRANSFORMS``, whatever the policy's.
    Random numbers come from the global generator of the images' device, as many for every p.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1]; dtype and shape are kept, the range is not.
        policy: see :func:`parse_policy`.
        p: probability, in [0, 1], of each transform of each image on its own (Karras et al. 2020,
            ADA, section 2).

    Raises:
        ValueError: for an unknown policy or images that are not ``(N, C, H, W)`` floats.
    """
    names = parse_policy(policy)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"augmentation takes floats (N, C, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    if "color" in names:
        images = _recolor(images, p)
    if "translation" in names:
        images = _translate(images, p)
    if "cutout" in names:
        images = _cut_out(images, p)
    return images


def _chosen(images: Tensor, p: float | Tensor) -> Tensor:
    """Draw which images a transform touches, bool ``(N, 1, 1)``: none at p = 0, all at p = 1."""
    return torch.rand(len(images), 1, 1, device=images.device) < p


def _recolor(images: Tensor, p: float | Tensor) -> Tensor:
    """Brightness + U(-1/2, 1/2), then saturation * U(0, 2), then contrast * U(1/2, 3/2).

    Each is applied with probability p. Brightness adds b; saturation scales the distance from a
    pixel's mean m over channels by s; contrast scales that from the image's mean M by c. Together
    they are ``c s x + c (1 - s) m + (1 - c) M + b``.
    """

    def draw(low: float, width: float, neutral: float) -> Tensor:
        value = torch.rand(len(images), 1, 1, 1, device=images.device) * width + low
        return torch.where(_chosen(images, p)[..., None], value, neutral).to(images.dtype)

    b, s, c = draw(-0.5, 1.0, 0.0), draw(0.0, 2.0, 1.0), draw(0.5, 1.0, 1.0)
    constant = (1 - c) * images.mean(dim=(1, 2, 3), keepdim=True) + b
    if images.shape[1] == 1:  # a grey pixel is its own mean: no saturation to change
        return c * images + constant
    return c * s * images + c * (1 - s) * images.mean(dim=1, keepdim=True) + constant


def _translate(images: Tensor, p: float | Tensor) -> Tensor:
    """Move by whole pixels, up to 1/8 of either side; what comes into view is 0."""
    n, channels, height, width = images.shape
    chosen = _chosen(images, p)
    rows = torch.arange(height, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, -1)
    rows = rows - _shift(n, height, images.device) * chosen
    columns = columns - _shift(n, width, images.device) * chosen
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    source = source.view(n, 1, -1).expand(-1, channels, -1)
    moved = images.flatten(2).gather(2, source).view_as(images)
    return moved * inside[:, None].to(images.dtype)


def _shift(n: int, side: int, device: torch.device) -> Tensor:
    most = int(side * MAX_SHIFT + 0.5)
    return torch.randint(-most, most + 1, (n, 1, 1), device=device)


def _cut_out(images: Tensor, p: float | Tensor) -> Tensor:
    """Set to 0 a rectangle of half the sides around a centre uniform over the image.

    It may reach over the border, as in DeVries & Taylor 2017: one that lies inside
    would always hide the image's middle, which D would then never see.
    """
    n, _, height, width = images.shape
    rows = _covered(n, height, images.device).view(n, height, 1)
    columns = _covered(n, width, images.device).view(n, 1, width)
    hidden = rows & columns & _chosen(images, p)
    return images * (~hidden)[:, None].to(images.dtype)


def _covered(n: int, side: int, device: torch.device) -> Tensor:
    """Draw an interval of half the side for each image; bool ``(n, side)``, True inside it."""
    length = int(side * CUTOUT_SIDE + 0.5)
    start = torch.randint(0, side + 1 - length % 2, (n, 1), device=device) - length // 2
    place = torch.arange(side, device=device)
    return (place >= start) & (place < start + length)


def mean_sign(real_logits: Tensor, boundary: float = 0.0) -> Tensor:
    """Give r_t = E[sign(D(real) - boundary)], a float32 scalar (Karras et al. 2020, ADA, eq. 1).

    It is 0 where D knows nothing and 1 where D holds every training image for real: overfitting.
    """
    return (real_logits.detach().float() - boundary).sign().mean()


class AdaptiveProbability:
    """ADA's p: raised while D overfits, lowered while it does not (Karras et al. 2020, section 3).

    Args:
        target: of r_t; the paper has 0.6.
        images: how many real images take p from 0 to 1 at the fastest; the paper has 500,000.
        p: at the start.

    Raises:
        ValueError: where a number is out of its range.
    """

    def __init__(self, target: float, images: int, p: float = 0.0) -> None:
        if not -1 < target < 1:
            raise ValueError(f"ADA's target is a mean of signs, in (-1, 1), got {target}")
        if images < 1 or not 0 <= p <= 1:
            raise ValueError(
                f"ADA needs images >= 1 and p in [0, 1], got images={images} and p={p}"
            )
        self.target = target
        self.images = images
        self.p = p
        self.r_t = 0.0
        self._signs: Tensor | float = 0.0
        self._seen = 0

    def observe(self, real_logits: Tensor, boundary: float = 0.0) -> None:
        """Take in D's logits of a batch of (augmented) real images, ``(N, ...)``."""
        self._signs = self._signs + mean_sign(real_logits, boundary) * len(real_logits)
        self._seen += len(real_logits)

    def adjust(self, reduce: Callable[[Tensor], Tensor] = lambda total: total) -> float:
        """Move p by the images observed since the last call and give it; the paper has 4 batches.

        Args:
            reduce: sums float32 ``(2,)`` (signs, images) over processes, so that all agree on p.
        """
        signs = torch.as_tensor(self._signs, dtype=torch.float32)
        total = reduce(torch.stack([signs, torch.full_like(signs, self._seen)]))
        signs_sum, seen = total.tolist()
        self._signs, self._seen = 0.0, 0
        if seen > 0:
            self.r_t = signs_sum / seen
            direction = (self.r_t > self.target) - (self.r_t < self.target)
            self.p = min(max(self.p + direction * seen / self.images, 0.0), 1.0)
        return self.p

    def state_dict(self) -> dict[str, float]:
        """Give the whole state as plain floats, what is observed and not yet used included."""
        return {
            "p": self.p,
            "r_t": self.r_t,
            "signs": float(self._signs),
            "seen": float(self._seen),
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from :meth:`state_dict`; target and speed stay those of the constructor."""
        self.p, self.r_t = state["p"], state["r_t"]
        self._signs, self._seen = state["signs"], int(state["seen"])


def check_probability(p: float | Schedule, adaptive: AdaptiveProbability | None) -> None:
    """Refuse a p outside [0, 1], or one that is set beside ADA's controller (ValueError)."""
    check_range("augment_p", p, 0.0, 1.0)
    if adaptive is not None and p != 1.0:
        raise ValueError(
            f"augment_p={p} is set, and adaptive chooses it as well; set adaptive=null, or leave "
            "augment_p at 1.0"
        )


def check_augmentation(
    policy: str,
    p: float | Schedule,
    adaptive: AdaptiveProbability | None,
    boundary: float | None,
) -> None:
    """Refuse a policy, a p and a controller that do not fit each other or the loss (ValueError).

    Args:
        boundary: that of the loss, None where a logit means something only beside another one.
    """
    names = parse_policy(policy)
    check_probability(p, adaptive)
    if adaptive is not None and not names:
        raise ValueError(
            f"adaptive chooses the probability of no transform, augment={policy!r}; set augment to "
            f"some of {','.join(TRANSFORMS)}, or adaptive=null"
        )
    if adaptive is not None and boundary is None:
        raise ValueError(
            "adaptive reads the sign of D's logits, which under this loss means nothing: choose "
            "loss=non_saturating, minimax, hinge or least_squares, or adaptive=null and augment_p"
        )
