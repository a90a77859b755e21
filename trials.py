"""Trials of a search: each a run of ``train.py`` in its own process, followed by its metrics."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

import job_process
import run_folder
from callbacks.run_record import read_rows
from comparison.runs import in_use
from config import ConfigError, override

Space = dict[str, Any]
Process = subprocess.Popen[bytes]


@dataclass
class Search:
    """What all trials of a study share.

    Attributes:
        study: Optuna's, in a file that other processes and machines may use too.
        folder: of the study; the run of trial 3 is ``folder/trial-0003``.
        space: setting -> values to choose from, or ``{low, high, log, step}``.
        train: settings of every trial.
        metric: a key of ``metrics.jsonl``, or what it begins with; its last value counts.
        trials: how many, those that failed and those of other processes included.
        poll_seconds: between two looks at a run.
    """

    study: optuna.Study
    folder: Path
    space: Space
    train: list[str]
    metric: str
    trials: int
    poll_seconds: float = 1.0
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, env: dict[str, str]) -> None:
        """Do trials, one after the other, until there are enough."""
        while not self.stopping.is_set():
            with _alone(self.folder / ".asking"):
                trial, lock = self._left_behind() or self._new()
            if trial is None:
                return
            try:
                self._finish(trial, env)
            finally:
                os.close(lock)

    def _new(self) -> tuple[Trial | None, int]:
        begun = [state for state in TrialState if state != TrialState.WAITING]
        if len(self.study.get_trials(deepcopy=False, states=begun)) >= self.trials:
            return None, -1
        trial = self.study.ask()
        suggest(trial, self.space)
        lock = _lock(self.folder / f".{name(trial)}.lock")
        assert lock is not None
        trial.set_user_attr("host", socket.gethostname())
        return trial, lock

    def _left_behind(self) -> tuple[Trial, int] | None:
        """Give a trial of this machine whose process was killed."""
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            here = frozen.user_attrs.get("host") == socket.gethostname()
            if not here or in_use(self.folder / name(frozen)):
                continue
            lock = _lock(self.folder / f".{name(frozen)}.lock")
            if lock is not None:
                return Trial(self.study, frozen._trial_id), lock
        return None

    def settings(self, trial: Trial | FrozenTrial) -> list[str]:
        """Give what a trial trains with, as ``train.py`` takes it."""
        return [*self.train, *(override(key, value) for key, value in trial.params.items())]

    def _finish(self, trial: Trial, env: dict[str, str]) -> None:
        run = self.folder / name(trial)
        given = self.settings(trial)
        if (run / "run.json").exists():
            given.insert(0, f"resume={run}")
        else:
            given += [f"paths.runs={self.folder}", f"name={run.name}"]
        told = " ".join(override(key, value) for key, value in trial.params.items())
        print(f"{run.name}: {told}", flush=True)
        done = (run / "run.json").exists() and run_folder.finished(run)
        outcome = self._follow(trial, run, None if done else start(given, env, run))
        if outcome is not None:
            print(f"{run.name}: {outcome}", flush=True)

    def _follow(
        self, trial: Trial, run: Path, process: subprocess.Popen[bytes] | None
    ) -> str | None:
        """Report values while the run goes on, stop it where it is poor; give how it ended."""
        values = Values(run / "metrics.jsonl", self.metric)
        while process is not None and process.poll() is None:
            if self.stopping.wait(self.poll_seconds):
                end(process)
                return None
            for seen, value in values.new():
                trial.report(value, seen)
                if trial.should_prune():
                    end(process)
                    self.study.tell(trial, state=TrialState.PRUNED)
                    return f"pruned at {seen:,} images, {value:g}"
        for seen, value in values.new():
            trial.report(value, seen)
        if self.stopping.is_set():
            return None
        failed = process is not None and process.returncode != 0
        if failed or values.last is None:
            self.study.tell(trial, state=TrialState.FAIL)
            missing = f"no row of {run / 'metrics.jsonl'} has {self.metric}"
            return "failed: " + (reason(run) if failed else missing)
        self.study.tell(trial, values.last)
        return f"{values.key} {values.last:g}"


class Values:
    """Values of one metric in a growing ``metrics.jsonl``.

    Attributes:
        key: the metric's, once a row has it; that of the test has another number of images.
        last: the newest value.
    """

    def __init__(self, path: Path, metric: str) -> None:
        self.path, self.metric = path, metric
        self.key: str | None = None
        self.last: float | None = None
        self._seen = -1

    def new(self) -> Iterator[tuple[int, float]]:
        """Yield images seen and value of the rows that were not there before."""
        for row in read_rows(self.path):
            if self.key is None:
                begins = (k for k in row if k == self.metric or k.startswith(f"{self.metric}/"))
                self.key = next(begins, None)
            if self.key in row and row["images_seen"] > self._seen:
                self._seen, self.last = row["images_seen"], row[self.key]
                yield self._seen, row[self.key]


def name(trial: Trial | FrozenTrial) -> str:
    """Give the name of the run of a trial."""
    return f"trial-{trial.number:04d}"


def suggest(trial: Trial, space: Space) -> None:
    """Choose a value for each setting of ``space``."""
    for key, values in space.items():
        if isinstance(values, list):
            trial.suggest_categorical(key, values)
        elif all(isinstance(values[edge], int) for edge in ("low", "high")):
            options = {"log": values.get("log", False), "step": values.get("step", 1)}
            trial.suggest_int(key, values["low"], values["high"], **options)
        else:
            options = {"log": values.get("log", False), "step": values.get("step")}
            trial.suggest_float(key, values["low"], values["high"], **options)


def check_space(space: Space, grid: bool) -> None:
    """Refuse, by its name, a setting that says neither values nor a range.

    Raises:
        ConfigError: also for a range in a grid, and for no setting at all.
    """
    if not space:
        raise ConfigError("space= names no setting to search; see conf/search")
    for key, values in space.items():
        if isinstance(values, list) and values:
            continue
        if grid:
            raise ConfigError(f"space.{key}={values!r}: a grid needs a list of values")
        if not isinstance(values, dict) or values.keys() - {"low", "high", "log", "step"}:
            raise ConfigError(f"space.{key}={values!r}: give a list, or low and high (log, step)")
        low, high = values.get("low"), values.get("high")
        if not _is_range(low, high, values.get("log", False)):
            raise ConfigError(f"space.{key}: {low} to {high} is no range of numbers")


def _is_range(low: Any, high: Any, log: bool) -> bool:
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    return numbers and bool(low <= high and (low > 0 or not log))


def combinations(space: Space) -> list[dict[str, Any]]:
    """Give every choice of a grid."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def start(given: list[str], env: dict[str, str], run: Path) -> Process:
    """Start the command of a trial; what it prints goes to a file beside its run."""
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            job_process.command(given), env=env, stdout=log, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def end(process: Process, patience: float = 30) -> None:
    """End a run as Ctrl-C does, and its whole tree of processes where that takes too long."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reason(run: Path) -> str:
    """Give the last error in the output of a trial."""
    lines = run.with_suffix(".log").read_text(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else f"see {run.with_suffix('.log')}"


def in_threads(search: Search, environments: list[dict[str, str]]) -> None:
    """Let one worker per environment do trials; Ctrl-C stops their runs, which can be resumed."""
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=_guarded, args=(search, env, failures), daemon=True)
        for env in environments
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        search.stopping.set()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]


def _guarded(search: Search, env: dict[str, str], failures: list[BaseException]) -> None:
    try:
        search.work(env)
    except BaseException as error:  # it is raised where the threads were started
        failures.append(error)
        search.stopping.set()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other thread or process of this machine is here."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(path: Path) -> int | None:
    """Hold a file for this process; None where another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
