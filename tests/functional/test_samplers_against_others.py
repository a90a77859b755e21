"""The same model outputs through diffusers' schedulers, and EDM's algorithm written out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.diffusion import to_x0
from functional.dpm_solver import dpm_solver_pp, dpm_solver_pp_sde
from functional.inversion import ddim_inversion
from functional.noise_schedule import VarianceExploding, VariancePreserving
from functional.ode_solvers import heun
from functional.samplers import ancestral, ddim
from functional.time_grid import time_grid

CHAIN = VariancePreserving(1000)
BETAS: dict[str, Any] = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def eps_network(x: Tensor, t: float) -> Tensor:
    """Anything smooth that depends on x and t; ``t`` counts from 0, as diffusers does."""
    return 0.8 * torch.sin(x) + 0.3 * torch.cos(2 * x + t / 300)


def our_denoiser(x: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = CHAIN.alpha(t).to(x.dtype), CHAIN.sigma(t).to(x.dtype)
    return to_x0("eps", eps_network(x, float(t) - 1), x, alpha, sigma)


def clipped(x: Tensor, t: Tensor) -> Tensor:
    return our_denoiser(x, t).clamp(-1, 1)


def start() -> Tensor:
    return torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def theirs(scheduler: Any, steps: int, **options: Any) -> Tensor:
    scheduler.set_timesteps(steps)
    x = start()
    for t in scheduler.timesteps:
        x = scheduler.step(eps_network(x, float(t)), t, x, **options).prev_sample
    return x


def no_noise(*shape: int) -> Tensor:
    raise AssertionError("noise was drawn")


def stream(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(4, *shape, generator=generator, dtype=torch.float64)


# float32 alphas on their side
CLOSE: dict[str, float] = {"rtol": 2e-4, "atol": 2e-4}


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("clip", [False, True])
def test_ddim_walks_the_trajectory_of_diffusers(spacing: str, clip: bool) -> None:
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    other = module.DDIMScheduler(
        1000, **BETAS, clip_sample=clip, timestep_spacing=spacing, set_alpha_to_one=True
    )
    wanted = theirs(other, 20, use_clipped_model_output=True)
    denoiser = clipped if clip else our_denoiser
    got = ddim(denoiser, start(), time_grid(CHAIN, 20, spacing), CHAIN, no_noise)
    torch.testing.assert_close(got, wanted, **CLOSE)


def test_ddim_with_noise_walks_the_trajectory_of_diffusers() -> None:
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    other = module.DDIMScheduler(1000, **BETAS, clip_sample=False, timestep_spacing="trailing")
    wanted = theirs(other, 20, eta=0.7, generator=torch.Generator().manual_seed(5))
    grid = time_grid(CHAIN, 20, "trailing")
    got = ddim(our_denoiser, start(), grid, CHAIN, stream(5), eta=0.7)
    torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ancestral_sampling_walks_the_trajectory_of_diffusers(variance: str) -> None:
    # Trailing, diffusers adds noise of the large variance to the finished image as well.
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    other = module.DDPMScheduler(
        1000, **BETAS, clip_sample=True, variance_type=variance, timestep_spacing="leading"
    )
    wanted = theirs(other, 50, generator=torch.Generator().manual_seed(5))
    grid = time_grid(CHAIN, 50, "leading")
    got = ancestral(clipped, start(), grid, CHAIN, stream(5), variance=variance)
    torch.testing.assert_close(got, wanted, **CLOSE)


def test_dpm_solver_walks_the_trajectory_of_diffusers() -> None:
    module = pytest.importorskip("diffusers.schedulers.scheduling_dpmsolver_multistep")
    other = module.DPMSolverMultistepScheduler(
        1000, **BETAS, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
        timestep_spacing="trailing", final_sigmas_type="zero",
    )  # fmt: skip
    wanted = theirs(other, 20)
    got = dpm_solver_pp(our_denoiser, start(), time_grid(CHAIN, 20), CHAIN, no_noise)
    torch.testing.assert_close(got, wanted, **CLOSE)


def test_heun_is_algorithm_1_of_edm() -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(x)

    steps, low, high, rho = 18, 0.002, 80.0, 7
    sigma = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(steps)
    ]
    sigma.append(0.0)
    x = wanted = high * start()
    for now, following in pairwise(sigma):
        slope = (wanted - denoise(wanted, torch.tensor(now))) / now
        ahead = wanted + (following - now) * slope
        if following != 0:
            corrected = (ahead - denoise(ahead, torch.tensor(following))) / following
            ahead = wanted + (following - now) * (slope / 2 + corrected / 2)
        wanted = ahead
    schedule = VarianceExploding(low, high)
    got = heun(denoise, x, time_grid(schedule, steps, "karras"), schedule, no_noise)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_sde_dpm_solver_walks_the_trajectory_of_diffusers() -> None:
    module = pytest.importorskip("diffusers.schedulers.scheduling_dpmsolver_multistep")
    other = module.DPMSolverMultistepScheduler(
        1000, **BETAS, algorithm_type="sde-dpmsolver++", solver_order=2, solver_type="midpoint",
        timestep_spacing="trailing", final_sigmas_type="zero",
    )  # fmt: skip
    wanted = theirs(other, 20, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    # Theirs draws in float32.
    noise = lambda *shape: torch.randn(4, *shape, generator=generator).double()  # noqa: E731
    got = dpm_solver_pp_sde(our_denoiser, start(), time_grid(CHAIN, 20), CHAIN, noise)
    torch.testing.assert_close(got, wanted, **CLOSE)


def edm_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(x)


def edm_sigmas(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7) -> list[float]:
    ends = high ** (1 / rho), low ** (1 / rho)
    inner = [(ends[0] + i / (steps - 1) * (ends[1] - ends[0])) ** rho for i in range(steps)]
    return [*inner, 0.0]


def test_heun_with_churn_is_algorithm_2_of_edm() -> None:
    steps, churn, low, high, spread = 18, 30.0, 0.05, 50.0, 1.003
    draw, x = stream(5), 80.0 * start()
    for now, following in pairwise(edm_sigmas(steps)):
        gamma = min(churn / steps, 2**0.5 - 1) if low <= now <= high else 0.0
        raised = now * (1 + gamma)
        if gamma > 0:
            x = x + (raised**2 - now**2) ** 0.5 * spread * draw(1, 3, 3)
        slope = (x - edm_denoiser(x, torch.tensor(raised))) / raised
        ahead = x + (following - raised) * slope
        if following != 0:
            corrected = (ahead - edm_denoiser(ahead, torch.tensor(following))) / following
            ahead = x + (following - raised) * (slope / 2 + corrected / 2)
        x = ahead
    schedule = VarianceExploding(0.002, 80.0)
    got = heun(
        edm_denoiser, 80.0 * start(), time_grid(schedule, steps, "karras"), schedule, stream(5),
        churn=churn, churn_min=low, churn_max=high, churn_noise=spread,
    )  # fmt: skip
    torch.testing.assert_close(got, x, rtol=1e-6, atol=1e-6)


def test_inversion_is_that_of_diffusers() -> None:
    """Leading, so that both visit 1, 51, ..., 951 (0, 50, ..., 950 as they count)."""
    module = pytest.importorskip("diffusers.schedulers.scheduling_ddim_inverse")
    other = module.DDIMInverseScheduler(
        1000, **BETAS, clip_sample=False, timestep_spacing="leading", set_alpha_to_one=True
    )
    other.set_timesteps(20)
    image = start().clamp(-1, 1)
    wanted = image
    for t in other.timesteps:
        wanted = other.step(eps_network(wanted, float(t)), t, wanted).prev_sample
    assert wanted.shape == image.shape
    got = ddim_inversion(our_denoiser, image, time_grid(CHAIN, 20, "leading"), CHAIN)
    torch.testing.assert_close(got, wanted, **CLOSE)
