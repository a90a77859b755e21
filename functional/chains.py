"""Images from noise by a denoising autoencoder: Markov chains of one image each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from functional.masking import Noise, uniform

Trace = Callable[[int, Tensor, Tensor], None]
"""Told the number of the step, from 1, where the chain stands, and the images it shows there."""


def walkback(
    corrupt: Callable[[Tensor], Tensor],
    draw: Callable[[Tensor], Tensor],
    start: Tensor,
    sweeps: int,
    trace: Trace | None = None,
) -> Tensor:
    """Give the images at the end of chains that corrupt and draw from P(x | corrupted x) in turn.

    The chain of Bengio et al. (2013), whose stationary distribution is the data's where P is right
    (their theorem 1). The last images are drawn as all others are; none is a mean.

    Args:
        corrupt: draws from C(corrupted x | x), for images ``(N, C, H, W)``.
        draw: draws from P(x | corrupted x).
        start: ``(N, C, H, W)``, e.g. :func:`uniform_start`.
        sweeps: of corrupting and drawing.
        trace: told each sweep.
    """
    x = start
    for sweep in range(1, sweeps + 1):
        x = draw(corrupt(x))
        if trace is not None:
            trace(sweep, x, x)
    return x


def uniform_start(noise: Noise, shape: tuple[int, int, int]) -> Tensor:
    """Give images of independent pixels, uniform in [-1, 1], ``(N, *shape)``."""
    return 2 * uniform(noise, *shape) - 1


def geometric_levels(high: float, low: float, count: int) -> Tensor:
    """Give ``count`` levels from ``high`` to ``low`` in a geometric series, float64.

    Raises:
        ValueError: where 0 < low <= high does not hold, or for a count below 2.
    """
    if not 0 < low <= high or count < 2:
        raise ValueError(
            f"{count} levels from {high} to {low}; expected at least 2 levels and 0 < low <= high"
        )
    return torch.logspace(0, 1, count, base=low / high, dtype=torch.float64) * high


def renoising_stds(stds: Tensor, repeats: int, step_size: float) -> list[tuple[float, float]]:
    """Give for each Langevin step the level of its start and the deviation of the noise it adds.

    A step keeps 1 - ``step_size`` of the noise. What is added brings it to the level of the next
    step, so that the network is told the noise there is (Jolicoeur-Martineau et al. 2021,
    "consistent annealed sampling"); the published rule leaves more, which shows in the images.

    Args:
        stds: the levels, falling.
        repeats: steps at each level.
        step_size: share of the way to the estimate, in (0, 1].

    Raises:
        ValueError: where a step would leave more noise than the next level has.
    """
    told = stds.double().repeat_interleave(repeats)
    left, wanted = (1 - step_size) * told[:-1], told[1:]
    if (left > wanted * (1 + 1e-9)).any():
        fall = float(1 - (wanted / told[:-1]).min())
        raise ValueError(
            f"{step_size=} of the way to the estimate leaves more noise than the next of "
            f"{len(stds)} levels has; use more levels, or a step size of {fall:.2g} or more"
        )
    added = (wanted**2 - left**2).clamp(min=0).sqrt()
    return list(zip(told[:-1].tolist(), added.tolist(), strict=True))


def annealed_langevin(
    denoise: Callable[[Tensor, float], Tensor],
    start: Tensor,
    stds: Tensor,
    repeats: int,
    step_size: float,
    noise: Noise,
    trace: Trace | None = None,
) -> Tensor:
    """Give the images at the end of Langevin chains under ever less noise.

    Song & Ermon (2019), algorithm 1, of which a step is x + eta sigma^2 s(x) and noise, eta their
    alpha / (2 sigma^2). The score s is that of Vincent (2011), (r(x) - x) / sigma^2 with r the
    denoising autoencoder told sigma; the noise is that of :func:`renoising_stds`. The last step is
    a denoising, as in Jolicoeur-Martineau et al. (2021). It takes ``len(stds) * repeats``
    evaluations of ``denoise``.

    Args:
        denoise: r(x, sigma), for images ``(N, C, H, W)`` and a standard deviation in their scale.
        start: ``(N, C, H, W)``, with noise of the first level.
        stds: the levels in the images' scale, falling.
        repeats: T.
        step_size: eta, in (0, 1].
        noise: gives standard normal ``(N, *shape)``.
        trace: told each step but the last, and shown the estimate it went towards.
    """
    x = start
    for step, (std, added) in enumerate(renoising_stds(stds, repeats, step_size), 1):
        estimate = denoise(x, std)
        x = x + step_size * (estimate - x) + added * noise(*x.shape[1:])
        if trace is not None:
            trace(step, x, estimate)
    return denoise(x, float(stds[-1]))
