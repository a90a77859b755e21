"""Training times drawn where the loss is large (Nichol & Dhariwal 2021, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from functional.noise_schedule import NoiseSchedule
from functional.time_sampling import Drawn, TimeSampler


class ImportanceTimes(TimeSampler, nn.Module):
    """Draws times in proportion to sqrt(E[loss^2]) at them, and weighs the loss by the inverse.

    The weighted loss has the mean that uniform times give and a smaller variance. Times are
    uniform until each of the equal shares of the schedule has ``history`` losses; then the second
    moment of a share is that of its last ``history`` losses. The losses are buffers, so they are in
    every checkpoint, and in a distributed job all processes enter the losses of all.

    Args:
        bins: shares of the schedule; for a chain T in the paper, or a divisor of it.
        history: losses per share; 10 in the paper.
        uniform: probability of a uniform draw all the same, so that no share is forgotten.
        stratified: one draw from each of N equal shares of the distribution.
    """

    losses: Tensor
    counts: Tensor

    def __init__(
        self, bins: int, history: int = 10, uniform: float = 1e-3, stratified: bool = False
    ) -> None:
        nn.Module.__init__(self)
        TimeSampler.__init__(self, "uniform", stratified=stratified)
        if bins < 1 or history < 1:
            raise ValueError(f"bins={bins} and history={history}: expected 1 or more")
        if not 0 < uniform <= 1:
            raise ValueError(f"uniform={uniform} is no probability above 0")
        self.bins, self.history, self.uniform = bins, history, uniform
        self.register_buffer("losses", torch.zeros(bins, history))
        self.register_buffer("counts", torch.zeros(bins, dtype=torch.long))

    def check(self, schedule: NoiseSchedule) -> None:
        if schedule.discrete and int(schedule.t_max) % self.bins:
            raise ValueError(
                f"{self.bins} bins do not divide the {schedule.t_max:.0f} steps of the chain; "
                f"set method.times.bins={schedule.t_max:.0f}"
            )

    def probabilities(self) -> Tensor:
        """Give the probability ``(bins,)`` of each share, float64."""
        root = self.losses.double().square().mean(dim=1).sqrt()
        share = root / root.sum().clamp(min=torch.finfo(torch.float64).tiny)
        mixed = (1 - self.uniform) * share + self.uniform / self.bins
        known = (self.counts >= self.history).all() & (root.sum() > 0)
        return torch.where(known, mixed, torch.full_like(mixed, 1 / self.bins))

    def draw(self, count: int, schedule: NoiseSchedule, device: torch.device) -> Drawn:
        p = self.probabilities().to(device)
        ends = p.cumsum(0)
        v = self.uniform_numbers(count, device) * ends[-1]
        bins = torch.searchsorted(ends, v, right=True).clamp(max=self.bins - 1)
        inside = 1 - (ends[bins] - v) / p[bins]
        t = schedule.quantile((bins + inside.clamp(1e-9, 1)) / self.bins)
        return Drawn(t, 1 / (self.bins * p[bins]), bins)

    @torch.no_grad()
    def observe(self, drawn: Drawn, losses: Tensor) -> None:
        assert drawn.bins is not None
        bins, losses = (_of_all_processes(x) for x in (drawn.bins, losses.detach().float()))
        order = bins.argsort(stable=True)
        bins, losses = bins[order], losses[order]
        # How many of the same share come before, and after, each one of this batch.
        first = torch.searchsorted(bins, bins)
        nth = torch.arange(len(bins), device=bins.device) - first
        later = torch.searchsorted(bins, bins, right=True) - first - nth - 1
        slots = (self.counts[bins] + nth) % self.history
        # Of more than fit, the last ones stay; the others go where nothing is kept.
        kept = torch.where(later < self.history, bins * self.history + slots, self.losses.numel())
        room = torch.cat([self.losses.flatten(), self.losses.new_zeros(1)])
        self.losses.copy_(room.scatter(0, kept, losses)[:-1].view_as(self.losses))
        self.counts.index_add_(0, bins, torch.ones_like(bins))


def _of_all_processes(values: Tensor) -> Tensor:
    """Give the values of all processes, in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
