"""Restoring by a diffusion model that was trained on images alone: no training for the task.

``restorer(denoiser, y, operator, times, schedule, noise, std, trace=None, **its options) -> x_0``

* ``denoiser``, ``times``, ``schedule``, ``noise``, ``trace``: as for ``functional.samplers``.
* ``y``: what was measured, ``(N, C, H, W)``: y = A x + std n.
* ``operator``: A, see ``functional.linear_operators``.
* ``std``: of the noise of y, ``(N, 1, 1, 1)``.

Which of them draw from p(x | y)? ``ddnm`` where the parts of an image that A sees and does not see
are independent, and so for noise alone; ``pigdm`` where x_0 given x_t is an isotropic Gaussian;
``repaint`` approaches it with more resampling; ``replacement`` and ``dps`` do not, and ``estimate``
gives its mean.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from functional.diffusion import posterior
from functional.guided_restoring import dps, pigdm
from functional.linear_operators import Identity, LinearOperator, consistent
from functional.measured_step import between, known_part, start
from functional.noise_schedule import NoiseSchedule
from functional.sampler_steps import Denoiser, Noise, Trace, renoise

Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(x_t, x_0, t, s)`` -> x_s."""


def ddnm(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
    jump: int = 1,
    resamples: int = 1,
) -> Tensor:
    """Restore by keeping of each estimate what A does not see (Wang et al. 2023).

    Without noise it is their algorithm 1, x_0 + A+ (y - A x_0) in place of x_0, so that A x = y in
    the end. With noise it does what DDNM+ is for (section 3.3): see ``functional.measured_step``.
    ``jump`` and ``resamples`` are time travel (section 3.4), as of :func:`repaint`.
    """
    known, shape = operator.pinv(y), y.shape[1:]

    def step(x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        drawn = noise(*shape) if s > 0 else torch.zeros_like(x)
        return between(operator, x, x0, known, t, s, schedule, drawn, std)

    going = (jump, resamples)
    return _walk(denoiser, y, operator, times, schedule, noise, std, trace, step, going)


def repaint(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
    jump: int = 5,
    resamples: int = 5,
) -> Tensor:
    """Restore as :func:`replacement`, going back to more noise and down again.

    So what is drawn comes to agree with what is known (Lugmayr et al. 2022, algorithm 1).

    Args:
        jump: steps that are gone back at once.
        resamples: how often each stretch of ``jump`` steps is gone down, r; 1 is once.
    """
    known, shape = operator.pinv(y), y.shape[1:]

    def step(x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        drawn = posterior(x, x0, t, s, schedule)
        if s == 0:
            return drawn.mean
        x = drawn.mean + drawn.variance.sqrt().to(x.dtype) * noise(*shape)
        return known_part(operator, x, known, s, schedule, noise(*shape), std)

    going = (jump, resamples)
    return _walk(denoiser, y, operator, times, schedule, noise, std, trace, step, going)


def replacement(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
) -> Tensor:
    """Restore by putting what is known, with noise of its own, in each state (Song et al. 2021).

    Appendix I.2 there. What is drawn meets what is known under noise only, and need not fit it.
    """
    return repaint(denoiser, y, operator, times, schedule, noise, std, trace, 1, 1)


def estimate(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None = None,
) -> Tensor:
    """Give E[x | y] of images under noise alone, one evaluation for each level of noise.

    y is a state of the time at which sigma / alpha is its ``std``.

    Raises:
        ValueError: where anything else was done to the images, or no noise added.
    """
    if not isinstance(operator, Identity) or not bool((std > 0).all()):
        raise ValueError(
            f"restorer 'estimate' is of images with noise alone, not of {type(operator).__name__}; "
            "use ddnm, repaint or pigdm"
        )
    result = torch.empty_like(y)
    for level in torch.unique(std):
        rows = std.flatten() == level
        t = schedule.time_of(level.double().log())
        x0 = denoiser(schedule.alpha(t).to(y.dtype) * y, t)
        result[rows] = x0[rows]
    return result


def course(
    times: Tensor, jump: int = 1, resamples: int = 1, settled: Tensor | float = 0.0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the steps (t, s) down ``times``, those back up to more noise between them.

    From every ``jump``-th place, counted from the end, it goes back ``jump`` steps,
    ``resamples`` - 1 times; never from 0, from times before ``settled``, nor above the first.

    Raises:
        ValueError: for a jump or resamples below 1.
    """
    if jump < 1 or resamples < 1:
        raise ValueError(f"{jump=}, {resamples=}: expected 1 or more")
    steps = len(times) - 1
    left = dict.fromkeys(range(1, steps - jump + 1, jump), resamples - 1)
    place = steps
    while place > 0:
        place -= 1
        yield times[steps - place - 1], times[steps - place]
        if left.get(place, 0) > 0 and times[steps - place] >= settled:
            left[place] -= 1
            yield times[steps - place], times[steps - place - jump]
            place += jump


def settled_time(operator: LinearOperator, schedule: NoiseSchedule, std: Tensor) -> Tensor:
    """Give the time before which a state holds all that y said, and no noise may blur it again."""
    if not bool(std.any()):
        return torch.zeros((), dtype=torch.float64)
    least = float(getattr(operator, "gain", 1.0))
    return schedule.time_of((std.double().max() / least).log())


def _walk(
    denoiser: Denoiser,
    y: Tensor,
    operator: LinearOperator,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: Noise,
    std: Tensor,
    trace: Trace | None,
    step: Step,
    going: tuple[int, int],
) -> Tensor:
    """Give the end of a course from where y stands: ``step`` on the way down, noise on that back.

    ``going``: jump and resamples of :func:`course`. What was measured without noise is kept.
    """
    shape, k = y.shape[1:], 0
    x = start(operator, operator.pinv(y), times[0], schedule, noise(*shape), std)
    for t, s in course(times, *going, settled_time(operator, schedule, std)):
        if s > t:
            x = renoise(x, t, s, schedule, noise(*shape))
            continue
        x0 = denoiser(x, t)
        if trace:
            trace(k, x, x0)
        x, k = step(x, x0, t, s), k + 1
    return x if bool(std.any()) else consistent(operator, x, y)


RESTORERS: dict[str, Callable[..., Tensor]] = {
    "ddnm": ddnm,
    "repaint": repaint,
    "replacement": replacement,
    "pigdm": pigdm,
    "dps": dps,
    "estimate": estimate,
}
FROM_NOISE = frozenset({"pigdm", "dps"})
"""Restorers that must begin with noise alone; others may at the level of y's."""


def restorer_options(restorer: str) -> list[str]:
    """Give the names of what a restorer takes after the arguments that all share."""
    names = list(inspect.signature(RESTORERS[restorer]).parameters)
    return names[names.index("trace") + 1 :]


def restorer_evaluations(
    restorer: str, times: Tensor, settled: Tensor | float, options: dict[str, Any]
) -> int:
    """Give the evaluations of the network per image; a gradient through one is not counted.

    ``settled``: of :func:`settled_time`.
    """
    if restorer == "estimate":
        return 1
    went = {name: options[name] for name in ("jump", "resamples") if name in options}
    return sum(bool(s < t) for t, s in course(times, **went, settled=settled))
