"""A published diffusion model of diffusers as a run folder, sampled and evaluated as one of ours.

``python scripts/import_diffusers.py FOLDER runs/NAME data=cifar10 [key=value ...]``

FOLDER has the layout of google/ddpm-cifar10-32: ``config.json`` of a ``UNet2DModel``,
``scheduler_config.json`` and ``diffusion_pytorch_model.safetensors`` or ``.bin``; or that of a
pipeline, with ``unet/`` and ``scheduler/``. What follows are settings of ``train.py``: the data
that the model is of. Then ``python evaluate.py run=runs/NAME`` and ``sample.py`` take the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import command_line  # noqa: E402
import experiment  # noqa: E402
import run_folder  # noqa: E402
from callbacks.checkpoints import AtomicCheckpointIO  # noqa: E402
from callbacks.run_record import merge_json  # noqa: E402
from config import register  # noqa: E402
from datamodules.base import ImageDataModule  # noqa: E402
from networks.diffusers_unet import (  # noqa: E402
    read_json,
    read_weights,
    unet_settings,
    unet_weights,
)

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
}


def import_model(source: Path, target: Path, overrides: Sequence[str]) -> Path:
    """Make the run folder ``target`` of the model in ``source``; give it.

    Raises:
        FileNotFoundError: for a file that ``source`` lacks.
        ValueError: for a model that is not ours to take, data of another shape, or a folder that
            is there.
    """
    network, scheduler = source, source / "scheduler_config.json"
    if (source / "unet").is_dir():
        network, scheduler = source / "unet", source / "scheduler" / "scheduler_config.json"
    settings = unet_settings(read_json(network / "config.json"))
    config = _composed(overrides)
    config["method"].update(_method(config["method"], settings, read_json(scheduler)))
    config["paths"]["runs"], config["name"] = str(target.parent), target.name
    experiment.check_plain(config)
    _check_data(experiment.build_data(config), settings)
    module = experiment.build_module(config)
    weights = unet_weights(read_weights(network), settings)
    module.get_submodule("network").load_state_dict(weights)
    run = run_folder.create(config, "")
    try:
        counters = {"images_seen": 0, "steps": 0}
        checkpoint = {"state_dict": module.state_dict(), "counters": counters}
        AtomicCheckpointIO().save_checkpoint(checkpoint, target / "checkpoints" / "last.ckpt")
        parameters = sum(p.numel() for p in module.parameters())
        imported = source.resolve().name
        merge_json(target / "run.json", status="imported", imported=imported, parameters=parameters)
    finally:
        run_folder.release(run)
    return target


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    register()
    usual = ["method=ddpm", "optimizer@method.optimizer=adam", "callbacks=none", "logger=none"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return experiment.resolve(compose("train", overrides=[*usual, *overrides]))


def _check_data(data: ImageDataModule, network: Mapping[str, Any]) -> None:
    """Refuse data of another shape than the network's images (ValueError)."""
    channels, size = network["in_channels"], network["image_size"]
    if (data.channels, data.image_size) != (channels, size):
        raise ValueError(
            f"the data's images are {data.channels} x {data.image_size} x {data.image_size}, the "
            f"model's {channels} x {size} x {size}; give data=CHOICE data.channels={channels} "
            f"data.image_size={size}"
        )


def _method(
    method: Mapping[str, Any], network: Mapping[str, Any], scheduler: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the method's settings that the published ones decide."""
    steps = int(scheduler.get("num_train_timesteps", 1000))
    kind = _known(scheduler, "beta_schedule", "linear", SCHEDULES)
    betas = {"beta_start": float(scheduler.get("beta_start", 1e-4))}
    betas["beta_end"] = float(scheduler.get("beta_end", 0.02))
    schedule = {
        "_target_": "functional.noise_schedule.VariancePreserving",
        "steps": steps,
        "schedule": kind,
        **(betas if kind == "linear" else {}),
    }
    sampling = {
        "sampler": "ancestral",
        "steps": steps,
        "spacing": "trailing",
        "clip": bool(scheduler.get("clip_sample", True)),
        "variance": _known(scheduler, "variance_type", "fixed_small", VARIANCES),
    }
    return {
        "network": {"_target_": "networks.unet.UNet", **network},
        "prediction": _known(scheduler, "prediction_type", "epsilon", PREDICTIONS),
        "schedule": schedule,
        "times": {**method["times"], "distribution": "uniform"},
        "sampling": {**method["sampling"], **sampling},
        "clipped_loss": False,
    }


def _known(scheduler: Mapping[str, Any], key: str, default: str, known: Mapping[str, str]) -> str:
    value = scheduler.get(key, default)
    if value not in known:
        raise ValueError(f"{key}={value!r} of the scheduler is none of {', '.join(known)}")
    return known[value]


def main() -> None:
    """Read the command line and import."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder of the published model")
    parser.add_argument("target", type=Path, help="the run folder to make")
    parser.add_argument("overrides", nargs="*", help="settings of train.py, key=value")
    asked = parser.parse_args()
    with command_line.clear_errors():
        made = import_model(asked.source, asked.target, asked.overrides)
        print(f"wrote {made}\nevaluate    python evaluate.py run={made}")


if __name__ == "__main__":
    main()
