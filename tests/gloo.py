"""Two processes of one gloo job, each of which writes what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from tests.command import ROOT, environment

WORLD_SIZE = 2


def outcomes(worker: str, folder: Path) -> list[dict[str, Any]]:
    """Run ``python -m worker RANK FOLDER`` for each rank; give what each one wrote."""
    # As a module: a script would find tests/callbacks before callbacks.
    command = [sys.executable, "-m", worker]
    jobs = [
        subprocess.Popen(
            [*command, str(rank), str(folder)],
            cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
        )
        for rank in range(WORLD_SIZE)
    ]  # fmt: skip
    try:
        assert [job.wait(timeout=600) for job in jobs] == [0] * WORLD_SIZE
    finally:
        for job in jobs:
            job.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


def work(see: Callable[[Path], dict[str, Any]]) -> None:
    """Join the job of the command line and write what this rank sees."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(WORLD_SIZE))
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD_SIZE)
    (folder / f"{rank}.json").write_text(json.dumps(see(folder)))
    distributed.destroy_process_group()
