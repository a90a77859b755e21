"""Two processes of one gloo job, each of which writes what it saw."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from tests import forked
from tests.command import environment
from tests.forked import ROOT, Forked

WORLD_SIZE = 2


def outcomes(worker: str, folder: Path) -> list[dict[str, Any]]:
    """Run the module ``worker`` once for each rank; give what each one wrote."""
    forked.together(
        Forked(forked.module, worker, str(rank), str(folder), cwd=ROOT, env=environment())
        for rank in range(WORLD_SIZE)
    )
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


def work(see: Callable[[Path], dict[str, Any]]) -> None:
    """Join the job of the command line and write what this rank sees."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE=str(WORLD_SIZE))
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD_SIZE)
    (folder / f"{rank}.json").write_text(json.dumps(see(folder)))
    distributed.destroy_process_group()
