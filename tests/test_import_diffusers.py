"""A saved model of diffusers becomes a run folder that samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import experiment
import run_folder
import sample
from scripts.import_diffusers import import_model
from tests.compose import composed

DATA = ["data=fake", "data.channels=3", "data.image_size=16", "trainer=cpu"]


def published(folder: Path, **scheduler: Any) -> tuple[Any, Any]:
    """Save what a pipeline of diffusers is made of; give network and scheduler."""
    module = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = module.UNet2DModel(
        sample_size=16, layers_per_block=1, block_out_channels=(64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), downsample_padding=0,
        flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, attention_head_dim=None,
    ).eval()  # fmt: skip
    rule = module.DDPMScheduler(1000, **scheduler)
    network.save_pretrained(folder / "unet")
    rule.save_pretrained(folder / "scheduler")
    return network, rule


def test_the_run_estimates_images_as_diffusers_does_and_samples(tmp_path: Path) -> None:
    theirs, rule = published(tmp_path / "model", variance_type="fixed_large")
    run = import_model(tmp_path / "model", tmp_path / "run", DATA)
    config = run_folder.read(run).config
    module: Any = experiment.load(run, config, "best", run_folder.usual_weights(config))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    rule.set_timesteps(1000)
    with torch.no_grad():
        for t in (1, 500, 1000):
            said = theirs(x, t - 1).sample
            wanted = rule.step(said, t - 1, x, torch.Generator()).pred_original_sample
            got = module.denoiser()(x, torch.tensor(float(t), dtype=torch.float64))
            # At t = 1000 the output is divided by sqrt(alpha_bar) = 0.006.
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=2e-3)
    assert module.sampling.record()["nfe"] == 1000
    few = ["sampling.sampler=ddim", "sampling.steps=2", "trainer=cpu"]
    output = tmp_path / "a.npz"
    sample.sample(composed(f"run={run}", "n=2", f"output={output}", *few, name="sample"))
    assert np.load(output)["images"].shape == (2, 16, 16, 3)


def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    published(tmp_path / "model", beta_schedule="scaled_linear")
    with pytest.raises(ValueError, match="beta_schedule='scaled_linear'"):
        import_model(tmp_path / "model", tmp_path / "run", DATA)
    published(tmp_path / "model")
    with pytest.raises(ValueError, match="the data's images are 1 x 16 x 16"):
        import_model(tmp_path / "model", tmp_path / "run", [*DATA, "data.channels=1"])
    with pytest.raises(FileNotFoundError, match=r"it has no config\.json"):
        import_model(tmp_path, tmp_path / "run", DATA)
    assert not (tmp_path / "run").exists()
