"""A job of a sweep as a ``python train.py`` of its own: nothing of another job is in its processes.

Hydra's submitit launcher starts a process for each job, from which no ranks can be started; so that
process starts the command anew, and the Trainer in there its own processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

import command_line
from metrics.protocol import short_hash

ROOT = Path(__file__).resolve().parent
SWEEP = "ATELIER_SWEEP"
# Of a scheduler's or launcher's process: read there, they would make a rank of this one.
FOREIGN = ("SLURM_", "SUBMITIT_", "TORCHELASTIC_", "PMI_", "OMPI_")
RANKS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
OF_A_RUN = (SWEEP, "ATELIER_RUN_FOLDER")


def remember(arguments: Sequence[str]) -> None:
    """Leave to the jobs of a sweep its command line, the devices it sees and where the code is."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ[SWEEP] = json.dumps({"arguments": list(arguments), "visible": visible})
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def sweep_arguments() -> list[str]:
    """Give the command line of the sweep that this process belongs to."""
    return list(_sweep()["arguments"])


def _sweep() -> dict[str, Any]:
    if SWEEP not in os.environ:
        return {"arguments": sys.argv[1:], "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}
    found: dict[str, Any] = json.loads(os.environ[SWEEP])
    return found


def environment(**extra: str) -> dict[str, str]:
    """Give the environment of a command that is no rank of anything, with ``extra``."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(FOREIGN) and k not in (*RANKS, *OF_A_RUN)
    }
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        # It hides the devices that it was not asked for.
        visible = _sweep()["visible"]
        kept.pop("CUDA_VISIBLE_DEVICES", None)
        kept |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return kept | extra


def command(overrides: Sequence[str]) -> list[str]:
    """Give the command that trains one job; a sweep's file among ``overrides`` starts no other."""
    return [sys.executable, str(ROOT / "train.py"), *overrides, "hydra.mode=RUN"]


def train(overrides: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Train one job and wait for its end; what it prints is printed.

    Raises:
        ValueError: where it failed, with the line that it ended with.
    """
    process = subprocess.Popen(
        command(overrides), env=dict(env or environment()), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    reason = ""
    for line in process.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        reason = line.strip().removeprefix("error: ") if line.startswith("error: ") else reason
    if process.wait():
        raise ValueError(reason or f"its process ended with code {process.returncode}")


def failures_file(sweep_dir: str) -> Path:
    """Give the file in which the jobs of this sweep say that they failed."""
    return Path(sweep_dir) / ".submitit" / f"failed-{short_hash(_sweep())}.jsonl"


def tell_failure(sweep_dir: str, job: str, reason: str) -> None:
    """Leave word of a job that failed to the process of the sweep."""
    path = failures_file(sweep_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps([job, reason]) + "\n")


class Failures(Callback):
    """Hydra's callback that takes word of failed jobs from their processes, for the sweep's end.

    Args:
        at_once: jobs that are launched together, for Hydra's sweeper, which reads it here.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self.at_once = at_once

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        failures_file(config.hydra.sweep.dir).unlink(missing_ok=True)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        path = failures_file(config.hydra.sweep.dir)
        for line in path.read_text().splitlines() if path.exists() else ():
            job, reason = json.loads(line)
            command_line.note_failure(job, reason)
        path.unlink(missing_ok=True)
