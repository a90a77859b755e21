"""Bits per dimension of held-out images: by the variational bound, term by term, and by the ODE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from callbacks.metric_group import Chart, Finding, MetricGroup, Point, Report, UsedRun
from callbacks.tracker import plain_protocol
from functional.flow_likelihood import DEQUANTISATIONS
from functional.likelihood import ChainLikelihood
from functional.reverse_variance import check_variance
from functional.seeding import ImageNoise, image_seeds
from functional.time_grid import SPACINGS
from metrics.gather import gather_rows
from metrics.protocol import metric_key

SPLITS = ("validation", "test")


class Likelihood(MetricGroup):
    """The bound, the chain and the flow of the first ``n`` images of a split.

    ``likelihood/bound`` is L_T + ... + L_0 in bits/dim, ``likelihood/chain`` the same by densities
    on the path, E_q[-log p(x_T) - sum log p(x_(t-1) | x_t) / q(x_t | x_(t-1))];
    ``likelihood/flow`` that of the probability-flow ODE.

    Args:
        split: "validation" or "test".
        steps: of the chain; None for all, or 250 where time is continuous.
        spacing: of them, of ``functional.time_grid.SPACINGS``; None for every step, or log_snr.
        variance: of the chain's steps; None for the model's own.
        flow_steps: of the ODE by Heun's method, two evaluations each, at most as many as a chain
            has; 0 leaves it out.
        dequantisation: of ``functional.flow_likelihood.DEQUANTISATIONS``.
        probes: vectors for its divergence; None for the exact trace.

    Raises:
        ValueError: for a setting that is none of these.
    """

    capability = "likelihood"

    def __init__(
        self,
        split: str,
        steps: int | None,
        spacing: str | None,
        variance: str | None,
        flow_steps: int,
        dequantisation: str,
        probes: int | None,
    ) -> None:
        for name, value, known in (
            ("split", split, SPLITS),
            ("spacing", spacing or SPACINGS[0], SPACINGS),
            ("dequantisation", dequantisation, DEQUANTISATIONS),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        if variance is not None:
            check_variance(variance)
        if flow_steps < 0 or (probes is not None and probes < 1):
            raise ValueError(f"{flow_steps=}, {probes=}; expected 0 or more, and 1 or more or null")
        self.split, self.steps, self.spacing, self.variance = split, steps, spacing, variance
        self.flow_steps, self.dequantisation, self.probes = flow_steps, dequantisation, probes

    def check(self, run: UsedRun) -> None:
        if run.content != "images":
            raise ValueError(
                f"bits per dimension are of 8-bit images, but the data of {run.folder} are "
                f"{run.content}"
            )
        likelihood = run.module.likelihood()
        likelihood.check(self.variance)
        likelihood.chain_times(self.steps, self.spacing)

    def measure(self, run: UsedRun, data: Any) -> Report:
        n, size = run.asked["n"], data.split_size(self.split)
        if n > size:
            raise ValueError(
                f"n={n}, but the {self.split} split of {data.name} has {size} images; give n={size}"
            )
        times = run.module.likelihood().chain_times(self.steps, self.spacing)
        rows = [self._rows(run, *batch, times) for batch in self._batches(run, data, n)]
        width = 4 + 2 * (len(times) - 1)
        table = gather_rows(rows, (width,), torch.float64)
        return self._report(run, data, table[table[:, 0].argsort()], times)

    def _batches(self, run: UsedRun, data: Any, n: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images, labels and indices of this process's share of images 0..n-1."""
        loader = data.test_dataloader() if self.split == "test" else data.val_dataloader()
        for batch in tqdm(loader, desc="likelihood", disable=run.share[0] > 0 or None):
            kept = batch.indices < n
            if not kept.any():
                return
            yield batch.images[kept], batch.labels[kept], batch.indices[kept]

    def _rows(
        self, run: UsedRun, images: Tensor, labels: Tensor, indices: Tensor, times: Tensor
    ) -> Tensor:
        """Give by image its index, L_T, -log p(x_T), the flow's bits and the terms of all steps."""
        module = run.module
        likelihood, noise = module.likelihood(), _noise(run, indices)
        images, labels = images.to(module.device), labels.to(module.device)
        chain = likelihood.chain(images, times, noise, labels, self.variance)
        flow = torch.full((len(images),), torch.nan, dtype=torch.float64)
        if self.flow_steps:
            grid = likelihood.flow_times(self.flow_steps)
            flow = likelihood.flow(
                images, grid, noise, labels, self.dequantisation, self.probes
            ).cpu()
        columns = [indices.cpu().double(), chain.prior, chain.path_prior, flow]
        return torch.cat([torch.stack(columns, dim=1), chain.steps, chain.path], dim=1)

    def _report(self, run: UsedRun, data: Any, table: Tensor, times: Tensor) -> Report:
        _, prior, path_prior, flow = table[:, :4].unbind(dim=1)
        steps, path = table[:, 4:].chunk(2, dim=1)
        rising = times[:-1].flip(0)
        chain = ChainLikelihood(prior, steps, path_prior, path, rising)
        report = Report(
            [self._of_chain(run, data, chain)],
            rows=[
                {"t": float(t), "bound": float(b), "chain": float(c)}
                for t, b, c in zip(rising, steps.mean(0), path.mean(0), strict=True)
            ],
            charts=_charts(chain, f"{data.name}, {self.split}, {len(table)}"),
        )
        if self.flow_steps:
            report.findings.append(self._of_flow(run, data, flow))
        return report

    def _of_chain(self, run: UsedRun, data: Any, chain: ChainLikelihood) -> Finding:
        n, variance = len(chain.prior), self.variance or run.module.likelihood().variance
        scores = {"bound": chain.bound, "chain": chain.chain}
        terms = {
            "L_T": chain.prior,
            "L_(t-1), sum over t > 1": chain.steps[:, 1:].sum(dim=1),
            "L_0": chain.steps[:, 0],
        }
        sampling = {
            "sampler": f"chain, {variance}",
            "spacing": self.spacing,
            "nfe": len(chain.times),
        }
        return self._finding(run, data, n, scores, terms, sampling)

    def _of_flow(self, run: UsedRun, data: Any, flow: Tensor) -> Finding:
        times = run.module.likelihood().flow_times(self.flow_steps)
        many = "" if self.probes == 1 else "s"
        probes = "exact trace" if self.probes is None else f"{self.probes} probe{many}"
        sampling = {
            "sampler": f"flow, {self.dequantisation} dequantisation, {probes}",
            "spacing": "log_snr",
            "nfe": 2 * (len(times) - 2) + (self.dequantisation == "decoder"),
        }
        return self._finding(run, data, len(flow), {"flow": flow}, {}, sampling)

    def _finding(
        self,
        run: UsedRun,
        data: Any,
        n: int,
        scores: dict[str, Tensor],
        terms: dict[str, Tensor],
        sampling: dict[str, Any],
    ) -> Finding:
        record = plain_protocol(
            data,
            "8-bit levels",
            self.split,
            n,
            sampling,
            weights=run.asked["weights"],
            precision=str(run.config["trainer"]["precision"]),
            seed=run.asked["seed"],
        )
        error = {name: float(v.std() / n**0.5) for name, v in scores.items()} if n > 1 else {}
        return Finding(
            {
                metric_key("likelihood", name, self.split, n): float(v.mean())
                for name, v in scores.items()
            },
            record,
            {
                **{name: float(values.mean()) for name, values in terms.items()},
                **{f"standard error of {name}": value for name, value in error.items()},
            },
        )


def _noise(run: UsedRun, indices: Tensor) -> ImageNoise:
    return ImageNoise(image_seeds(run.asked["seed"], indices.tolist()), run.module.device)


def _charts(chain: ChainLikelihood, of: str) -> dict[str, Chart]:
    """Give what every step costs, against its t; of densities one step may pay for another."""
    title, words = f"each step: {of} images", "bits/dim"
    bound = {"bound, L_(t-1)": _points(chain, chain.steps)}
    path = {"chain, log q - log p": _points(chain, chain.path)}
    return {
        "likelihood_terms": Chart(title, "t", words, bound, log_x=True, log_y=True),
        "likelihood_chain": Chart(title, "t", words, path, log_x=True),
    }


def _points(chain: ChainLikelihood, terms: Tensor) -> list[Point]:
    return list(zip(chain.times.tolist(), terms.mean(0).tolist(), strict=True))
