"""Train one experiment, then test it: ``python train.py [experiment=...] [key=value ...]``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import command_line

if TYPE_CHECKING:
    from experiment import Experiment
    from run_folder import Run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Compose, then train."""
    with command_line.clear_errors():
        train(cfg)


def train(cfg: DictConfig) -> Experiment:
    """Train what ``cfg`` says in a new run folder, or go on in the one of ``resume=``."""
    import experiment
    import run_folder
    import summary

    run = open_run(cfg)
    with ExitStack() as at_the_end:
        at_the_end.callback(run_folder.release, run)
        built = experiment.build(run.config, run.folder, run.id)
        at_the_end.callback(experiment.close, built)
        summary.opening(run, built)
        built.trainer.fit(
            built.module, datamodule=built.data, ckpt_path=run.checkpoint, weights_only=True
        )
        if built.module.progress >= 1.0:
            built.trainer.test(built.module, datamodule=built.data, verbose=False)
        summary.closing(run, built)
    return built


def open_run(cfg: DictConfig) -> Run:
    """Check the configuration and open its run folder, before anything costs time."""
    import experiment
    import run_folder

    config = experiment.check(cfg)
    refuse_unsafe_multirun(config)
    resumed, config["resume"] = config["resume"], None
    if resumed:
        run = run_folder.resume(Path(resumed), config, list(HydraConfig.get().overrides.task))
        experiment.check_plain(run.config)
        run_folder.save_config(run)
        return run
    return run_folder.create(config, experiment.title(HydraConfig.get().runtime.choices))


def refuse_unsafe_multirun(config: dict[str, Any]) -> None:
    """Refuse ``-m`` over several devices in one process: a second job would lose data silently."""
    job = HydraConfig.get()
    basic = "BasicLauncher" in str(job.launcher.get("_target_"))
    if job.mode == RunMode.MULTIRUN and basic and config["trainer"]["devices"] not in (1, [0]):
        raise ValueError(
            f"-m with trainer.devices={config['trainer']['devices']} is unsafe in one process; "
            "start one command per job from the shell, or use a launcher that does"
        )


if __name__ == "__main__":
    command_line.run(main)
