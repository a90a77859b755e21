"""What a person reads before and after training."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from callbacks.run_record import MetricsFile
from experiment import Experiment
from provenance import provenance
from run_folder import Run


def opening(run: Run, built: Experiment) -> None:
    """Say what is about to be trained, and where it goes; hand the settings to the loggers."""
    for logger in built.trainer.loggers:
        if not isinstance(logger, MetricsFile):
            logger.log_hyperparams({**run.config, "provenance": provenance(run.config)})
    if not built.trainer.is_global_zero:
        return
    parameters = sum(p.numel() for p in built.module.parameters())
    data = run.config["data"]
    print(
        f"{type(built.module).__name__} ({parameters:,} parameters) on {type(built.data).__name__} "
        f"({data['channels']} x {data['image_size']} x {data['image_size']}), global batch "
        f"{data['batch_size']}, {run.config['trainer']['precision']}, seed {run.config['seed']}"
    )
    verb = "going on from its last checkpoint" if run.checkpoint else "new run"
    print(f"run folder: {run.folder} ({verb})", flush=True)


def closing(run: Run, built: Experiment) -> None:
    """Say what came out, where it is, and what can be done with it."""
    if not built.trainer.is_global_zero:
        return
    record = json.loads((run.folder / "run.json").read_text())
    for logger in built.trainer.loggers:
        if isinstance(logger, WandbLogger):
            # With the protocol of each score, so that compare.py can rank what it reads there.
            logger.log_hyperparams({"record": record})
    lines = [
        "",
        f"{record['images_seen']:,} images in {record['wall_clock_seconds'] / 60:.1f} minutes, "
        f"{record.get('images_per_second') or 0:.0f} images/s",
        *_scores(record),
        f"pictures     {run.folder / 'samples'}",
        f"checkpoints  {run.folder / 'checkpoints'}",
        f"resume       python train.py {setting('resume', run.folder)} {_twice(run, record)}",
        *_uses(run, built),
        *_wandb(run, built),
    ]
    print("\n".join(lines), flush=True)


def _scores(record: dict[str, Any]) -> list[str]:
    """Give the scores of the end, the best FID on the way, and the protocol they stand on."""
    final, best = record.get("final", {}), record.get("best", {})
    lines = [f"{key:<38} {value:.4g}" for key, value in final.items()]
    lines += [
        f"{key:<38} {value:.4g} (best while training)"
        for key, value in best.items()
        if key.startswith("gen/fid/")
    ]
    ids = list(record.get("protocols", {}))
    if ids:
        lines.append(f"protocol     {', '.join(ids)} (run.json says what they stand for)")
    return lines


def setting(key: str, value: object) -> str:
    """Give ``key=value`` as it is typed in a shell, whatever characters a folder's name has."""
    text = str(value)
    if not re.fullmatch(r"[\w./:+-]+( +[\w./:+-]+)*", text, re.ASCII):
        text = "'" + text.replace("'", "\\'") + "'"
    return shlex.quote(f"{key}={text}")


def _twice(run: Run, record: dict[str, Any]) -> str:
    """Give the settings of a budget twice as long as what was trained, in images."""
    others = [f"budget.{k}=null" for k in ("steps", "minutes") if run.config["budget"][k]]
    return " ".join([f"budget.images={2 * record['images_seen']}", *others])


def _uses(run: Run, built: Experiment) -> list[str]:
    if "sample" not in built.module.capabilities:
        return []
    return [
        f"sample       python sample.py {setting('run', run.folder)} n=64 seed=0 output=samples/",
        f"evaluate     python evaluate.py {setting('run', run.folder)}",
    ]


def _wandb(run: Run, built: Experiment) -> list[str]:
    for logger in built.trainer.loggers:
        if isinstance(logger, WandbLogger) and getattr(logger, "mode", "") == "offline":
            return [
                f"view         wandb leet {shlex.quote(f'{run.folder}/wandb')}",
                f"sync         wandb sync {shlex.quote(f'{run.folder}/wandb')}/offline-run-*",
            ]
    return []
