"""Adversarial losses by the names of their papers, on the logits of a discriminator.

A logit is D's output before any squashing; where a paper writes a probability D(x), it is the
sigmoid of the logit. Every loss is a scalar to minimise, computed in float32 (float64 stays), and
every expectation is a mean over all logits, so a discriminator may give one per image or patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss:
    """What D and G minimise.

    Attributes:
        needs_real: whether G's loss compares with logits of real images.
        boundary: the logit above which D holds an image for real; None where a logit means
            something only beside another one.
    """

    needs_real: bool = False
    boundary: float | None = 0.0

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Give D's loss, a scalar, from logits of any shape."""
        raise NotImplementedError

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """Give G's loss, a scalar; ``real_logits`` are read only where ``needs_real``."""
        raise NotImplementedError

    def statistics(self, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """Give D's mean logits and the shares of images that it judges rightly, by name.

        Where a logit means something only beside another, the bound is the mean on fake images.
        """
        real, fake = real_logits.detach(), fake_logits.detach()
        boundary = fake.mean() if self.boundary is None else self.boundary
        return {
            "d_real": real.mean(),
            "d_fake": fake.mean(),
            "accuracy_real": (real > boundary).float().mean(),
            "accuracy_fake": (fake < boundary).float().mean(),
        }


class Minimax(AdversarialLoss):
    """The game's value as it stands (Goodfellow et al. 2014, eq. 1): G minimises E log(1 - D).

    Its gradient vanishes where D is sure of a fake, hence "saturating".
    """

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        # -log sigmoid(l) = softplus(-l) and -log(1 - sigmoid(l)) = softplus(l), without overflow.
        return F.softplus(-_precise(real_logits)).mean() + F.softplus(_precise(fake_logits)).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -F.softplus(_precise(fake_logits)).mean()


class NonSaturating(Minimax):
    """D as in :class:`Minimax`; G minimises -E log D (Goodfellow et al. 2014, end of section 3)."""

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return F.softplus(-_precise(fake_logits)).mean()


class LeastSquares(AdversarialLoss):
    """Halved squared errors (Mao et al. 2017, eq. 2) with the paper's 0-1 coding.

    D is drawn to b = 1 on real and to a = 0 on fake images; G draws D to c = 1 on its own.
    """

    a, b, c = 0.0, 1.0, 1.0
    boundary = 0.5

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real = (_precise(real_logits) - self.b).square().mean()
        fake = (_precise(fake_logits) - self.a).square().mean()
        return (real + fake) / 2

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return (_precise(fake_logits) - self.c).square().mean() / 2


class Wasserstein(AdversarialLoss):
    """The dual of the Wasserstein-1 distance (Arjovsky et al. 2017, eq. 3 and algorithm 1).

    D must be kept Lipschitz beside it: by clipped weights, a gradient penalty or spectral norm.
    """

    boundary = None

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return _precise(fake_logits).mean() - _precise(real_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -_precise(fake_logits).mean()


class Hinge(AdversarialLoss):
    """Margins of 1 for D, the bare logit for G (Lim & Ye 2017; Miyato et al. 2018, eq. 16-17)."""

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real, fake = _precise(real_logits), _precise(fake_logits)
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -_precise(fake_logits).mean()


class Relativistic(AdversarialLoss):
    """RpGAN: the logistic loss of paired differences (Jolicoeur-Martineau 2019, RpSGAN).

    What R3GAN trains with (Huang et al. 2024, eq. 2): a fake is judged beside a real image, so
    a constant added to D changes nothing.
    """

    needs_real = True
    boundary = None

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.softplus(-_difference(real_logits, fake_logits)).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        if real_logits is None:
            raise ValueError(
                "the relativistic loss of G compares with real images, got real_logits=None: "
                "give D's logits of as many real images (the loss says needs_real)"
            )
        return F.softplus(_difference(real_logits, fake_logits)).mean()


LOSSES: dict[str, AdversarialLoss] = {
    "minimax": Minimax(),
    "non_saturating": NonSaturating(),
    "least_squares": LeastSquares(),
    "wasserstein": Wasserstein(),
    "hinge": Hinge(),
    "relativistic": Relativistic(),
}


def make_loss(name: str) -> AdversarialLoss:
    """Give the loss called ``name``.

    Raises:
        ValueError: for a name that is not in ``LOSSES``; lists those that are.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown adversarial loss {name!r}; known: {', '.join(LOSSES)}")
    return LOSSES[name]


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _difference(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    # Broadcasting (N,) against (N, 1) would pair every image with every other, silently.
    if real_logits.shape != fake_logits.shape:
        raise ValueError(
            "the relativistic loss pairs each real image with one fake: give logits of one shape, "
            f"got {tuple(real_logits.shape)} (real) and {tuple(fake_logits.shape)} (fake)"
        )
    return _precise(real_logits) - _precise(fake_logits)
