"""Processes that start at once: copies of one that has imported what the commands import."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = [
    "pytest", "train", "sample", "evaluate", "experiment", "use_run", "torch.distributed",
    "callbacks.wandb_run", "lightning_modules.ddpm", "lightning_modules.gan",
    "lightning_modules.generation", "metrics.generation", "networks.unet", "networks.dcgan",
]  # fmt: skip


@cache
def server() -> ForkServerContext:
    """The process that is copied; torch in it and in its copies has one thread."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in one}
    os.environ.update(one)
    ensure_running()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    return context


class Forked:
    """A process that calls ``function(*arguments)``, used as ``subprocess.Popen`` is."""

    def __init__(
        self, function: Callable[..., Any], *arguments: Any, cwd: Path, env: dict[str, str]
    ) -> None:
        self.args = [function.__name__, *map(str, arguments)]
        self._texts = [Path(tempfile.mkstemp()[1]) for _ in range(2)]
        self._process = server().Process(
            target=_call, args=(function, arguments, str(cwd), env, [*map(str, self._texts)])
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def kill(self) -> None:
        self._process.kill()

    def _kill_all(self) -> None:
        """Kill it with whatever it has started, which would go on without it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to its output and errors by its end."""
        try:
            self._process.join(timeout)
            if self.returncode is None:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        finally:
            if self.returncode is None:
                self._kill_all()
        out, err = (path.read_text() for path in self._texts)
        for path in self._texts:
            path.unlink()
        return out, err


def together(processes: Iterable[Forked], timeout: float = 600) -> None:
    """Wait for processes that need each other; all end where one does not end well."""
    jobs = list(processes)
    try:
        texts = [job.communicate(timeout) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert [job.returncode for job in jobs] == [0] * len(jobs), texts


def _call(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    cwd: str,
    env: dict[str, str],
    texts: list[str],
) -> None:
    import torch

    os.setpgid(0, 0)
    for descriptor, path in enumerate(texts, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    # Temporary folders of the process that is copied are not this one's to remove.
    atexit._clear()
    try:
        function(*arguments)
    finally:
        # A copy would end without what a process of its own does at its end.
        atexit._run_exitfuncs()


def script(path: str, *arguments: str) -> None:
    """Run the file ``path`` as ``python path arguments`` does."""
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def module(name: str, *arguments: str) -> None:
    """Run the module ``name`` as ``python -m name arguments`` does."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__")
