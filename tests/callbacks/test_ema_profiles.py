"""Averages beside the one in use: kept, resumed, rebuilt, chosen by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks.checkpoints import Checkpoints, read_checkpoint
from callbacks.ema import EMA
from callbacks.ema_profiles import EMAProfiles, snapshots
from callbacks.weights import named_weights
from functional.power_ema import decay_of, gamma_of
from tests.callbacks.test_ema import PARAMETERS, Recorder
from tests.callbacks.toy import Toy, same, weights
from tests.lightning_modules.tiny import data, trainer

BATCH = 8


def profiles(**changes: Any) -> EMAProfiles:
    settings: dict[str, Any] = {
        "decays": [0.9, 0.5], "sigma_rel": [0.05, 0.1], "snapshot_every_images": 5 * BATCH,
    }  # fmt: skip
    return EMAProfiles(**{**settings, **changes})


def fitted(folder: Path, steps: int, **changes: Any) -> tuple[EMAProfiles, list[dict[str, Tensor]]]:
    """Train; give the callback and the raw weights after each step."""
    kept, recorder = profiles(**changes), Recorder()
    callbacks = [EMA(0.99), kept, recorder, Checkpoints(None, every_minutes=60)]
    trainer(folder, callbacks, steps=steps).fit(Toy(), data())  # type: ignore[arg-type]
    return kept, recorder.at("on_train_batch_end")


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def power_average(raw: list[dict[str, Tensor]], sigma_rel: float) -> dict[str, Tensor]:
    gamma = gamma_of(sigma_rel)
    average = {name: raw[0][name].double() for name in PARAMETERS}
    for step, now in enumerate(raw, 1):
        keep = decay_of(gamma, step)
        average = {n: keep * average[n] + (1 - keep) * now[n].double() for n in PARAMETERS}
    return average


def test_each_average_equals_a_float64_recomputation_of_its_own(tmp_path: Path) -> None:
    kept, raw = fitted(tmp_path, 12)
    assert list(kept.averages) == ["ema-0.9", "ema-0.5", "power-0.05", "power-0.1"]
    for sigma in (0.05, 0.1):
        wanted = power_average(raw, sigma)
        for name in PARAMETERS:
            found = kept.averages[f"power-{sigma}"][name].double()
            torch.testing.assert_close(found, wanted[name], rtol=1e-5, atol=1e-6)
    alone, module = EMA(0.5), Toy()
    trainer(tmp_path / "alone", [alone], steps=12).fit(module, data())
    assert same(kept.averages["ema-0.5"], alone.average)


def test_names_choose_among_the_weights_of_a_checkpoint(tmp_path: Path) -> None:
    kept, _ = fitted(tmp_path, 12)
    content = last(tmp_path)
    for name, average in kept.averages.items():
        assert same(named_weights(content, tmp_path, name), average)
    assert named_weights(content, tmp_path, "raw") == {}
    assert same(named_weights(content, tmp_path, "ema"), content["ema"]["weights"])
    assert not same(content["ema"]["weights"], kept.averages["power-0.1"])
    with pytest.raises(ValueError, match=r"'mean'; this run has raw, ema, ema-0.9, .*rebuilt"):
        named_weights(content, tmp_path, "mean")


def test_a_profile_that_was_not_kept_is_rebuilt_from_snapshots(tmp_path: Path) -> None:
    _, raw = fitted(tmp_path, 60)
    assert [updates for _, updates in snapshots(tmp_path)] == list(range(5, 61, 5))
    for sigma in (0.08, 0.15):
        found = named_weights(last(tmp_path), tmp_path, f"power-{sigma}")
        wanted = power_average(raw, sigma)
        for name in PARAMETERS:
            # How far the average lies behind the weights sets the scale.
            behind = (raw[-1][name].double() - wanted[name]).norm()
            assert (found[name].double() - wanted[name]).norm() < 0.1 * behind + 1e-6
        assert found["network.1.num_batches_tracked"].dtype == torch.int64
    with pytest.raises(ValueError, match="write snapshots more often"):
        named_weights(last(tmp_path), tmp_path, "power-0.004")


def test_a_resumed_run_has_the_averages_and_snapshots_of_one_that_was_not_stopped(
    tmp_path: Path,
) -> None:
    whole, _ = fitted(tmp_path / "whole", 21)
    fitted(tmp_path / "halves", 10)
    # A part of a killed run that its checkpoint lacks.
    ghost = tmp_path / "halves" / "checkpoints" / "averages" / "000000013.ckpt"
    ghost.write_bytes(b"of another life")
    rest = profiles()
    callbacks = [EMA(0.99), rest, Checkpoints(None, every_minutes=60)]
    resumed = trainer(tmp_path / "halves", callbacks, steps=21)  # type: ignore[arg-type]
    path = str(tmp_path / "halves" / "checkpoints" / "last.ckpt")
    resumed.fit(Toy(), data(), ckpt_path=path, weights_only=True)
    assert rest.updates == whole.updates == 21
    assert all(same(rest.averages[name], whole.averages[name]) for name in whole.averages)
    halves, of_whole = snapshots(tmp_path / "halves"), snapshots(tmp_path / "whole")
    assert [t for _, t in halves] == [t for _, t in of_whole] == [5, 10, 15, 20]
    for (one, _), (other, _) in zip(halves, of_whole, strict=True):
        ours, theirs = (read_checkpoint(p)["averages"]["power-0.1"] for p in (one, other))
        assert same(ours, theirs)


def test_nothing_asked_for_is_nothing_kept_and_training_is_as_without(tmp_path: Path) -> None:
    kept = profiles(decays=[], sigma_rel=[], snapshot_every_images=None)
    with_it, without = Toy(), Toy()
    trainer(tmp_path / "a", [kept, Checkpoints(None, 60)], steps=6).fit(with_it, data())
    trainer(tmp_path / "b", [], steps=6).fit(without, data())
    assert not kept.averages and "ema_profiles" not in last(tmp_path / "a")
    assert not (tmp_path / "a" / "checkpoints" / "averages").exists()
    assert same(weights(with_it), weights(without))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decays": [1.0]}, r"decays has 1.0"),
        ({"decays": [0.9, 0.9]}, "named twice"),
        ({"sigma_rel": [0.5]}, "sigma_rel=0.5"),
        ({"sigma_rel": []}, "snapshot_every_images=40 with sigma_rel"),
        ({"snapshot_every_images": 0}, "snapshot_every_images=0"),
    ],
)
def test_profiles_that_cannot_be_kept_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        profiles(**changes)
