"""Two plain folders of images: scored as torch-fidelity scores them, and again after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate
from config import ConfigError
from datamodules.plain_folder import open_plain_folder
from metrics.extractors import build_extractor
from metrics.protocol import ProtocolRecord
from metrics.remembered import Remembered
from tests.compose import composed, refused
from tests.metrics.conftest import MINI
from tests.metrics.conftest import inception_weights as inception_weights
from tests.run_folders import untrained

N, SEED = 12, 2020  # of images; of torch-fidelity's draws


def write(folder: Path, images: np.ndarray) -> None:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders ``real``, ``more`` of it, and ``made``: other clothes that are darker and noisy."""
    with np.load(MINI) as data:
        images, others = data["train_images"][: N + 8], data["test_images"][:N]
    noise = np.random.RandomState(0).randint(0, 60, others.shape)
    write(tmp_path / "real", images[:N])
    write(tmp_path / "more", images)
    write(tmp_path / "made", (others * 0.7 + noise).clip(0, 255).astype(np.uint8))
    return tmp_path


def score(place: Path, *overrides: str) -> dict[str, float]:
    given = [f"images={place / 'made'}"]
    if not any(override.startswith("reference=") for override in overrides):
        given.append(f"reference={place / 'real'}")
    here = f"paths.cache={place / 'cache'}", "trainer=cpu", f"seed={SEED}"
    (entry,) = evaluate.evaluate(composed(*given, *here, *overrides, name="evaluate"))
    kept = json.loads((place / "made" / "evaluation.json").read_text())["evaluations"]
    assert kept[-1] == entry
    return {key.split("/")[1]: value for key, value in entry["scores"].items()}


METRICS = "metrics=[fid,kid,inception_score,precision,recall]"


NAMES = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "inception_score": "inception_score_mean",
    "inception_score_std": "inception_score_std",
    "precision": "precision",
    "recall": "recall",
}


def assert_equal_to_torch_fidelity(
    folders: Path, ours: dict[str, float], extractor: str, layer: str, real: str, **settings: Any
) -> None:
    layers = {f"feature_layer_{metric}": layer for metric in ("fid", "kid", "prc")}
    theirs = import_module("torch_fidelity").calculate_metrics(
        input1=str(folders / "made"), input2=str(folders / real), cuda=False, verbose=False,
        fid=True, kid=True, isc=True, prc=True, kid_subset_size=N, rng_seed=SEED, cache=False,
        feature_extractor=extractor, batch_size=8, **layers, **settings,
    )  # fmt: skip
    for name in ours.keys() & NAMES:
        # Their kernel of KID, with values of 1 to 10, is in float32.
        near = pytest.approx(theirs[NAMES[name]], rel=1e-4, abs=1e-6 if name == "kid" else 0)
        assert ours[name] == near, name
    assert ours["kid"] > 1e-3 and ours["inception_score"] > 1


def test_two_folders_score_as_torch_fidelity_scores_them_with_one_network(folders: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity")

    class Ours(fidelity.FeatureExtractorBase):  # type: ignore[misc, name-defined]
        """The shipped network as torch-fidelity calls one."""

        def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
            super().__init__(name, features_list)
            self.network = build_extractor("fmnist_cnn")

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = dict(zip(self.get_provided_features_list(), self.network(images), strict=True))
            return tuple(found[name] for name in self.features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> torch.Tensor:
            return torch.zeros(1, 3, 28, 28, dtype=torch.uint8)

    fidelity.register_feature_extractor("shipped", Ours)
    ours = score(folders, METRICS, "extractor=fmnist_cnn", "batch_size=5")
    assert ours.keys() >= NAMES.keys()
    assert_equal_to_torch_fidelity(folders, ours, "shipped", "features", "real")
    few = "metrics=[fid,kid,inception_score]"
    # More real images than generated ones: each subset of KID is then a part of them.
    more = score(folders, few, "extractor=fmnist_cnn", f"reference={folders / 'more'}")
    assert_equal_to_torch_fidelity(folders, more, "shipped", "features", "more")
    assert more["kid_std"] > 0


@pytest.mark.slow
def test_two_folders_score_as_torch_fidelity_scores_them_with_inception(
    folders: Path, inception_weights: Path
) -> None:
    ours = score(folders, METRICS, f"extractor_weights={inception_weights}", "batch_size=5")
    assert_equal_to_torch_fidelity(
        folders, ours, "inception-v3-compat", "2048", "real",
        feature_extractor_weights_path=str(inception_weights),
    )  # fmt: skip


SMALL = ["extractor=fmnist_cnn", "batch_size=3", "metrics=[fid,kid,precision]"]


def test_a_call_that_was_killed_computes_only_the_batches_that_it_lacks(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    class Killed(BaseException):
        pass

    extract = Remembered.extract

    def counted(self: Any, images: torch.Tensor) -> Any:
        if len(computed) == 5:
            raise Killed
        found = extract(self, images)
        computed.append(self.computed)
        return found

    monkeypatch.setattr(Remembered, "extract", counted)
    with pytest.raises(Killed):
        score(folders, *SMALL)
    kept = len(list((folders / "cache" / "features").glob("*.safetensors")))
    assert kept == 5 and not (folders / "made" / "evaluation.json").exists()
    monkeypatch.setattr(Remembered, "extract", extract)
    again = score(folders, *SMALL)
    assert len(list((folders / "cache" / "features").glob("*.safetensors"))) == 2 * 4
    whole = score(folders, *SMALL, f"paths.cache={folders / 'other'}")
    assert again == whole


def test_batches_change_nothing_and_a_first_part_can_be_scored(folders: Path) -> None:
    one, other = (score(folders, *SMALL, f"batch_size={size}") for size in (5, N))
    assert one == pytest.approx(other, rel=1e-6)
    part = score(folders, *SMALL, "n=8")
    assert part["fid"] != one["fid"]
    entries = json.loads((folders / "made" / "evaluation.json").read_text())["evaluations"]
    assert [entry["protocol"]["n_generated"] for entry in entries] == [N, 8]
    assert entries[0]["protocol"]["sampler"] == "files"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["images=made"], "scored beside reference=FOLDER"),
        (["images=made", "reference=mine.npz"], "no statistics file mine.npz"),
        (["images=made", "reference=real", "run=x"], "give one of them"),
        (["images=made", "reference=nowhere"], "there is no folder nowhere"),
        (["images=empty", "reference=real"], "holds no image"),
        (["images=made", "reference=real", "n=13"], "made has 12 images, 13 asked for"),
        (["images=made", "reference=sizes"], "sizes has images of 28 x 28, 30 x 20"),
        (["images=broken", "reference=real"], "broken/0000.png cannot be read"),
        (["images=made", "reference=real", "batch_size=0"], "batch_size=0"),
        (["images=made", "reference=real", "metrics=[fdi]"], "did you mean 'fid'"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_name(
    folders: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.chdir(folders)
    Path("empty").mkdir()
    write(Path("sizes"), np.zeros((2, 28, 28), np.uint8))
    Image.new("L", (20, 30)).save("sizes/0001.png")
    Path("broken").mkdir()
    Path("broken/0000.png").write_text("no image")
    assert words in refused("evaluate.py", *overrides, "extractor=fmnist_cnn", "trainer=cpu")
    assert not Path("made/evaluation.json").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(folders: Path) -> None:
    (folders / "made" / "evaluation.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        score(folders, *SMALL)


def test_statistics_of_a_file_score_as_the_folder_they_were_written_from(folders: Path) -> None:
    file = folders / "real.npz"
    here = f"paths.cache={folders / 'cache'}", "trainer=cpu", "extractor=fmnist_cnn"
    asked = f"reference={folders / 'real'}", f"statistics={file}", *here
    assert evaluate.evaluate(composed(*asked, name="evaluate")) == []
    with np.load(file) as written:
        mu, sigma = written["mu"], written["sigma"]
    features = build_extractor("fmnist_cnn")(open_plain_folder(folders / "real").batch(range(N)))
    rows = features.features.double().numpy()
    assert np.allclose(mu, rows.mean(0)) and np.allclose(sigma, np.cov(rows, rowvar=False))
    few = "extractor=fmnist_cnn", "metrics=[fid]"
    from_file = score(folders, *few, f"reference={file}")
    assert from_file == pytest.approx(score(folders, *few), rel=1e-6)
    words = refused("evaluate.py", f"images={folders / 'made'}", f"reference={file}", *here)
    assert "kid needs the reference's images" in words and "metrics=[fid]" in words


def test_a_record_names_its_draws(folders: Path) -> None:
    score(folders, *SMALL)
    entry = json.loads((folders / "made" / "evaluation.json").read_text())["evaluations"][0]
    record = ProtocolRecord.from_dict(entry["protocol"])
    assert record.draws == "torch-fidelity" and record.id == entry["protocol_id"]
    assert replace(record, draws=None).measurement_id != record.measurement_id


def test_a_run_is_scored_beside_its_test_split_a_folder_or_a_file(folders: Path) -> None:
    run = untrained(folders / "run")
    ask = f"run={run}", "n=16", "trainer=cpu", "extractor=fmnist_cnn", "metrics=[fid]"
    told = {}
    for reference in ("train", "test", str(folders / "real"), str(folders / "x.npz")):
        asked = *ask, f"reference={reference}", f"paths.cache={folders / 'cache'}"
        if reference.endswith("real"):
            asked = *asked, f"statistics={folders / 'x.npz'}"
        (entry,) = evaluate.evaluate(composed(*asked, name="evaluate"))
        told[entry["protocol"]["reference_split"]] = entry
    assert [*told] == ["train", "test", "folder", "statistics file"]
    records = [entry["protocol"] for entry in told.values()]
    assert [record["reference_n"] for record in records] == [40, 16, N, N]
    fid = [entry["scores"]["gen/fid/fmnist_cnn@16"] for entry in told.values()]
    assert fid[2] == pytest.approx(fid[3], rel=1e-6) and len({round(x) for x in fid[:3]}) == 3
    assert len({entry["protocol_id"] for entry in told.values()}) == 4
