"""Train one experiment, then test it: ``python train.py [experiment=...] [key=value ...]``."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import command_line
import job_process

if TYPE_CHECKING:
    from experiment import Experiment, Parts
    from run_folder import Run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Compose, then train."""
    with command_line.clear_errors():
        train(cfg)


def train(cfg: DictConfig) -> Experiment | None:
    """Train what ``cfg`` says in a new run folder, or go on in the one of ``resume=``.

    A job of a sweep that an earlier call of the sweep finished is left as it is, and gives None.
    """
    import experiment
    import summary

    if HydraConfig.get().mode == RunMode.MULTIRUN and not command_line.in_one_process():
        train_alone(cfg)
        return None
    with ExitStack() as at_the_end:
        opened = open_run(cfg, at_the_end)
        if opened is None:
            return None
        run, parts = opened
        built = experiment.build(run.config, run.folder, run.id, parts)
        at_the_end.callback(experiment.close, built)
        summary.opening(run, built)
        built.trainer.fit(
            built.module, datamodule=built.data, ckpt_path=run.checkpoint, weights_only=True
        )
        if built.module.progress >= 1.0:
            built.trainer.test(built.module, datamodule=built.data, verbose=False)
        summary.closing(run, built)
    return built


def open_run(cfg: DictConfig, at_the_end: ExitStack) -> tuple[Run, Parts] | None:
    """Give a run folder, to be let go of at the end, and what was built to see that all is well.

    Whatever is wrong is refused before a folder is made. None where nothing is left to do.
    """
    import experiment
    import run_folder

    config = experiment.resolve(cfg)
    refuse_unsafe_multirun(config)
    resumed, config["resume"] = config["resume"], None
    title = experiment.title(HydraConfig.get().runtime.choices)
    if HydraConfig.get().mode == RunMode.MULTIRUN and not resumed:
        resumed = run_folder.enter_sweep(config, title, job_process.sweep_arguments())
        if resumed and run_folder.finished(resumed):
            print(f"{resumed} is finished already", flush=True)
            return None
    if resumed:
        run = run_folder.resume(Path(resumed), config, list(HydraConfig.get().overrides.task))
        at_the_end.callback(run_folder.release, run)
        experiment.check_plain(run.config)
        run_folder.save_config(run)
        return run, experiment.prepare(run.config, run.folder)
    experiment.check_plain(config)
    parts = experiment.prepare(config)
    run = run_folder.create(config, title)
    at_the_end.callback(run_folder.release, run)
    return run, parts


def train_alone(cfg: DictConfig) -> None:
    """Train a job of a sweep by a command of its own, unless an earlier call finished it."""
    import experiment
    import run_folder

    config = experiment.resolve(cfg)
    if config["trainer"]["num_nodes"] != 1:
        raise ValueError("a job of a sweep is on one node; train over several by srun or torchrun")
    choices, job = HydraConfig.get().runtime.choices, list(HydraConfig.get().overrides.task)
    title = experiment.title(choices)
    folder = run_folder.enter_sweep(config, title, job_process.sweep_arguments())
    if folder is None:
        job_process.train([*job, f"name={config['name']}", f"group={config['group']}"])
    elif run_folder.finished(folder):
        print(f"{folder} is finished already", flush=True)
    else:
        job_process.train([f"resume={folder}", *job])


def refuse_unsafe_multirun(config: dict[str, Any]) -> None:
    """Refuse ``-m`` over several devices in one process: a second job would lose data silently."""
    if HydraConfig.get().mode != RunMode.MULTIRUN or not command_line.in_one_process():
        return
    devices, nodes = config["trainer"]["devices"], config["trainer"]["num_nodes"]
    alone = devices == 1 or (isinstance(devices, list) and len(devices) == 1)
    if not alone or nodes != 1:
        job = shlex.join(HydraConfig.get().overrides.task)
        raise ValueError(
            f"trainer.devices={devices} in a sweep whose jobs share one process: the second would "
            "train on part of its data unnoticed; give each job processes of its own by "
            f"hydra/launcher=local, or start the job alone: python train.py {job}"
        )


if __name__ == "__main__":
    job_process.remember(sys.argv[1:])
    sys.argv[1:] = command_line.for_the_resumed_run(sys.argv[1:])
    command_line.run(main)
