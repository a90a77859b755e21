"""Search settings with Optuna: ``python sweep.py search=gan_lr [trials=20] [key=value ...]``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra import compose
from omegaconf import DictConfig, OmegaConf

import command_line
from config import ConfigError, nearest, override

if TYPE_CHECKING:
    import optuna

    from trials import Search

SAMPLERS = ("tpe", "random", "grid")


@hydra.main(version_base="1.3", config_path="conf", config_name="sweep")
def main(cfg: DictConfig) -> None:
    """Compose, then search."""
    with command_line.clear_errors():
        sweep(cfg)


def sweep(cfg: DictConfig) -> optuna.Study:
    """Do the trials of a study, those of an earlier call going on; print and give the study."""
    asked: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    check(asked)
    import job_process
    import trials

    search = open_search(asked)
    devices = [str(device) for device in asked["devices"]]
    environments = [job_process.environment(CUDA_VISIBLE_DEVICES=device) for device in devices]
    trials.in_threads(search, environments or [job_process.environment()])
    report(search)
    return search.study


def check(asked: dict[str, Any]) -> None:
    """Refuse, before any trial, what cannot be searched, and settings that ``train.py`` refuses.

    Raises:
        ConfigError: naming the setting.
    """
    try:
        from trials import check_space, combinations
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ConfigError("sweep.py needs Optuna: pip install -e '.[sweep]'") from error
    import experiment

    if asked["sampler"] not in SAMPLERS:
        raise ConfigError(f"sampler={asked['sampler']!r}{nearest(asked['sampler'], SAMPLERS)}")
    for key, least in (("trials", 1), ("startup_trials", 1), ("warmup_images", 0), ("seed", 0)):
        if asked[key] is not None and asked[key] < least:
            raise ConfigError(f"{key}={asked[key]}, expected at least {least}")
    check_space(asked["space"], asked["sampler"] == "grid")
    choices = {key: _choices(values) for key, values in asked["space"].items()}
    first = {key: values[0] for key, values in choices.items()}
    others = [{**first, key: value} for key, values in choices.items() for value in values[1:]]
    for settings in [first, *others]:
        given = [*asked["train"], *(override(key, value) for key, value in settings.items())]
        experiment.check(compose("train", overrides=given))
    if asked["sampler"] == "grid":
        number = len(combinations(asked["space"]))
        asked["trials"] = min(asked["trials"] or number, number)


def _choices(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values["low"], values["high"]]


def open_search(asked: dict[str, Any]) -> Search:
    """Give the study in its folder, made or found there."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    import trials

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(asked["runs"]) / asked["study"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {folder} ({error.strerror}); set runs=") from error
    # Through a file that is only appended to, so that machines may share it over NFS.
    study = optuna.create_study(
        study_name=asked["study"],
        storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))),
        pruner=_pruner(asked),
        direction=asked["direction"],
        load_if_exists=True,
    )
    study.sampler = _sampler(asked, len(study.get_trials(deepcopy=False)))
    _refuse_another(study, asked)
    if asked["sampler"] == "grid":
        for settings in trials.combinations(asked["space"]):
            study.enqueue_trial(settings, skip_if_exists=True)
    given, enough = asked["train"], asked["trials"] or 20
    return trials.Search(study, folder, asked["space"], given, asked["metric"], enough)


def _sampler(asked: dict[str, Any], known: int) -> optuna.samplers.BaseSampler:
    import optuna

    # A process that joins a study must not draw again what the first one drew.
    seed = asked["seed"] + known
    if asked["sampler"] != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    # Trials that are running elsewhere count as poor ones, so that no two look at one place.
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=asked["startup_trials"], constant_liar=True
    )


def _pruner(asked: dict[str, Any]) -> optuna.pruners.BasePruner:
    import optuna

    if not asked["prune"]:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=asked["startup_trials"], n_warmup_steps=asked["warmup_images"]
    )


def _refuse_another(study: optuna.Study, asked: dict[str, Any]) -> None:
    """Refuse to mix trials of other settings, or of another measure, into a study."""
    same = {key: asked[key] for key in ("space", "train", "metric", "direction")}
    known = study.user_attrs.get("asked", same)
    if changed := [key for key in same if known[key] != same[key]]:
        told = "; ".join(f"{key}: {known[key]} -> {same[key]}" for key in changed)
        raise ConfigError(f"the study {asked['study']} was another one: {told}. Give study=NAME")
    study.set_user_attr("asked", same)


def report(search: Search) -> None:
    """Print all trials, the best first, and the command of the best one."""
    from trials import name

    ended = [trial for trial in search.study.get_trials(deepcopy=False) if trial.value is not None]
    done = [trial for trial in ended if trial.state.name == "COMPLETE"]
    sign = 1 if search.study.direction.name == "MINIMIZE" else -1
    print(f"\n{len(done)} trials to their end, {len(search.study.trials)} in all: {search.folder}")
    done.sort(key=lambda trial: sign * (trial.value or 0.0))
    for trial in done:
        told = " ".join(f"{key}={value}" for key, value in trial.params.items())
        print(f"  {trial.value:10.4g}  {name(trial)}  {told}")
    if done:
        print(f"the best again: python train.py {shlex.join(search.settings(done[0]))}")


if __name__ == "__main__":
    command_line.run(main)
