"""``sample.py task=...`` on a user's own images, from the command line's settings to the files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

import command_line
import sample
from callbacks.run_record import merge_json
from config import ConfigError
from tasks import sources
from tasks.outputs import settings_of
from tests.command import TINY_DATA
from tests.compose import composed
from tests.lightning_modules.test_mae_generation import TINY_MAE
from tests.run_folders import untrained

QUIET = ["logger=none", "trainer=cpu"]
COLOUR = ["method=dae", "corruption@method.corruption=grey", "method.conditional=false"]
GAN = [
    "method=gan", "method.generator.width=8", "method.discriminator.width=8", *QUIET
]  # fmt: skip
CLASSES = ["method.label_dropout=0.1", "method.network.num_classes=2", "method.restoring.steps=2"]
BOX = ["task=inpaint", "mask.box=[2,2,4,4]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny untrained runs."""
    place = tmp_path_factory.mktemp("runs")
    return {
        "mae": untrained(place / "mae", *QUIET, tiny=[*TINY_MAE, "method.network.patch_size=2"]),
        "dae": untrained(place / "dae", "method=dae"),
        "ddpm": untrained(place / "ddpm", *CLASSES),
        "gan": untrained(place / "gan", *GAN, tiny=TINY_DATA),
        "colour": untrained(place / "colour", *COLOUR, "data.channels=3"),
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images of different size and kind."""
    folder, random = tmp_path / "photos", np.random.RandomState(0)
    folder.mkdir()
    for name, shape in {"a.png": (8, 8), "b.jpg": (20, 30, 3), "c.webp": (9, 7, 4)}.items():
        pixels = random.randint(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def asked(run: Path, *settings: str) -> DictConfig:
    """The configuration of a command line, composed once for all of them."""
    usual = composed("trainer=cpu", name="sample")
    return OmegaConf.merge(usual, OmegaConf.from_dotlist([f"run={run}", *settings]))  # type: ignore[return-value]


def do(run: Path, photos: Path, *settings: str) -> Path:
    """Do a task to the images; give the folder of the results."""
    output = photos.parent / "out"
    sample.sample(asked(run, f"input={photos}", f"output={output}", *settings))
    return output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    ("run", "settings", "shape"),
    [
        ("mae", ["task=outpaint", "left=3", "top=1"], (8, 8)),
        ("dae", ["task=denoise", "corrupt=false"], (8, 8)),
        ("colour", ["task=colorize"], (8, 8, 3)),
        ("ddpm", ["task=super_resolve", "corrupt=false"], (8, 8)),
        ("ddpm", [*BOX, "restoring.restorer=replacement"], (8, 8)),
        ("ddpm", ["task=style", "strength=0.5", "label=1", "sampling.guidance=2"], (8, 8)),
    ],
)
def test_each_image_and_seed_has_a_file_that_says_what_it_is_of(
    runs: dict[str, Path], photos: Path, run: str, settings: list[str], shape: tuple[int, ...]
) -> None:
    output = do(runs[run], photos, *settings, "n=2", "seed=3")
    results = [f"{name}_seed{seed}.png" for name in "abc" for seed in (3, 4)]
    assert names(output) == sorted([*results, "result.json", "sheet.png"])
    assert pixels(output / "c_seed4.png").shape == shape
    told = settings_of(output / "c_seed4.png")
    assert told is not None
    assert (told["task"], told["run"], told["seed"]) == (settings[0][5:], run, 4)
    assert told["images_seen"] == 64 and told["weights"] == ("raw" if run == "mae" else "ema")
    record = json.loads((output / "result.json").read_text())
    assert record["made"] == 6 and record["skipped"] == []
    assert record["files"][2]["outputs"][1] == {"file": "c_seed4.png", "seed": 4, "made": True}


def test_what_is_known_of_an_inpainted_image_is_exact_unless_asked_otherwise(
    runs: dict[str, Path], photos: Path
) -> None:
    known = np.ones((8, 8), dtype=bool)
    known[2:6, 2:6] = False
    original = pixels(photos / "a.png")
    result = pixels(do(runs["mae"], photos, *BOX) / "a_seed0.png")
    assert np.array_equal(result[known], original[known])
    assert (result[~known] != original[~known]).any()
    raw = pixels(do(runs["mae"], photos, *BOX, "paste=false", "overwrite=true") / "a_seed0.png")
    assert np.array_equal(raw[~known], result[~known])
    assert not np.array_equal(raw[known], original[known])


def test_an_outpainted_image_lies_whole_within_its_sides_or_keeps_its_scale(
    runs: dict[str, Path], photos: Path
) -> None:
    sides, original = ["task=outpaint", "left=4", "bottom=4"], pixels(photos / "a.png")
    shrunk = pixels(do(runs["mae"], photos, *sides) / "a_seed0.png")[:4, 4:]
    half = Image.fromarray(original).resize((4, 4), Image.Resampling.BICUBIC)
    assert abs(shrunk.astype(int) - np.asarray(half).astype(int)).max() <= 1
    kept = do(runs["mae"], photos, *sides, "place=keep", "overwrite=true") / "a_seed0.png"
    assert np.array_equal(pixels(kept)[:4, 4:], original[:4, 4:])


def test_an_extended_image_stays_in_its_place_and_the_canvas_grows_as_far_as_is_asked(
    runs: dict[str, Path], photos: Path
) -> None:
    sides = ["task=outpaint", "place=extend", "left=11", "bottom=5"]
    output = do(runs["ddpm"], photos, *sides, "n=2")
    first, second = (pixels(output / f"a_seed{seed}.png") for seed in (0, 1))
    assert first.shape == (13, 19)
    for result in (first, second):
        assert np.array_equal(result[:8, 11:], pixels(photos / "a.png"))
    assert (first != second).mean() > 0.5
    assert (output / "sheet.png").is_file()


def test_results_that_are_there_are_kept_and_those_of_other_settings_refused(
    runs: dict[str, Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = do(runs["mae"], photos, *BOX)
    (output / "b_seed0.png").unlink()
    before = (output / "a_seed0.png").stat().st_mtime_ns
    do(runs["mae"], photos, *BOX)
    assert "wrote 1 images" in capsys.readouterr().out
    assert (output / "a_seed0.png").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"a_seed0\.png is there with mask.box \[2, 2, 4, 4\]"):
        do(runs["mae"], photos, "task=inpaint", "mask.box=[2,2,3,4]")
    namesake = shutil.copytree(runs["mae"], photos.parent / "mae")
    merge_json(namesake / "run.json", wandb_id="another")
    with pytest.raises(ValueError, match=r"a_seed0\.png is there with run_id '"):
        do(namesake, photos, *BOX)
    Image.new("L", (8, 8)).save(photos / "a.png")
    with pytest.raises(ValueError, match=r"a_seed0\.png is there with image '"):
        do(runs["mae"], photos, *BOX)
    do(runs["mae"], photos, *BOX, "overwrite=true")
    Image.new("L", (8, 8)).save(output / "a_seed0.png")
    with pytest.raises(ValueError, match="no settings in it"):
        do(runs["mae"], photos, *BOX)


def test_a_broken_file_among_many_is_named_and_the_others_are_done(
    runs: dict[str, Path], photos: Path
) -> None:
    whole = (photos / "a.png").read_bytes()
    (photos / "b.png").write_bytes(whole[: len(whole) // 2])
    (photos / "b.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 of 3 images were left out: .*b\.png: .*truncated"):
        do(runs["mae"], photos, *BOX)
    output = photos.parent / "out"
    assert names(output) == ["a_seed0.png", "c_seed0.png", "result.json", "sheet.png"]
    skipped = json.loads((output / "result.json").read_text())["skipped"]
    assert [Path(entry["input"]).name for entry in skipped] == ["b.png"]


@pytest.mark.parametrize(
    ("run", "settings", "words"),
    [
        ("dae", BOX, "its DAE was trained for denoise-.* It can: denoise"),
        ("mae", ["task=denoise"], "MAE was trained for random-75. It can: inpaint, outpaint"),
        ("mae", ["task=colorize"], "images of 1 channel have no colour"),
        ("mae", ["task=inpaint"], "what is to be filled in"),
        ("mae", ["task=outpaint"], "one above 0, say left=8"),
        ("mae", ["task=outpaint", "left=8"], "leave nothing of the model's 8 x 8 pixels"),
        ("mae", ["task=outpaint", "left=1", "place=out"], "place='out' is unknown"),
        ("mae", ["task=outpaint", "left=9999", "place=extend"], "a canvas of 8 x 10007 pixels"),
        (
            "mae",
            ["task=outpaint", "left=1", "place=extend", "paste=false"],
            "goes on from the image",
        ),
        ("mae", [*BOX, "noise=0.3"], "task=inpaint takes no noise; noise is for denoise"),
        ("mae", ["noise=0.3"], "task=generate takes no noise; noise is for denoise"),
        ("mae", ["task=inpait"], "did you mean 'inpaint'"),
        ("mae", ["task=inpaint", "mask.box=[0,0,8,8]"], "hides all of .*a.png"),
        ("mae", [*BOX, "trainer.devices=2"], "trainer.devices=2 is more"),
        ("dae", ["task=denoise", "noise=-1"], "noise=-1.0; expected"),
        ("mae", ["task=super_resolve", "factor=3"], "choose a patch among 1, 2, 4, 8"),
        ("mae", [*BOX, "n=0"], "n=0 images"),
        ("ddpm", ["task=variation", "strength=1.2"], r"strength=1.2 lies outside \[0, 1\]"),
        ("ddpm", ["task=variation", "label=1"], "label is for style, interpolate"),
        ("ddpm", ["task=style", "label=2"], "label=2: this model has classes 0 to 1"),
        ("mae", [*BOX, "restoring.steps=3"], "MAE has no settings of restoring"),
        ("ddpm", [*BOX, "sampling.steps=3"], "task=inpaint takes no sampling.steps; restoring"),
        ("ddpm", ["task=variation", "restoring.steps=3"], "variation takes no restoring.steps"),
        ("ddpm", ["task=interpolate", "sampling.sampler=heun"], "no other sampling.sampler"),
        ("ddpm", [*BOX, "restoring.restorer=ddim"], "unknown restorer 'ddim'; known: "),
        ("gan", ["task=style", "label=2"], "It can: generate, interpolate"),
        ("gan", ["task=interpolate"], "GAN knows no latents of given images"),
        ("ddpm", ["task=interpolate", "images=1"], "images=1 of a way; expected 2 to 100"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    runs: dict[str, Path], photos: Path, run: str, settings: list[str], words: str
) -> None:
    given = [f"output={photos.parent / 'out'}", *settings]
    given += [] if settings == ["noise=0.3"] else [f"input={photos}"]
    with pytest.raises(Exception) as caught:
        sample.sample(asked(runs[run], *given))
    assert command_line.is_mistake(caught.value), f"it would show a traceback: {caught.value!r}"
    assert re.search(words, command_line.one_line(caught.value))
    assert not list(photos.parent.glob("out/*.png"))


def test_no_strength_gives_an_image_back_and_strength_changes_it(
    runs: dict[str, Path], photos: Path
) -> None:
    original = pixels(photos / "a.png")
    none = pixels(do(runs["ddpm"], photos, "task=variation", "strength=0") / "a_seed0.png")
    assert np.array_equal(none, original)
    some = do(runs["ddpm"], photos, "task=variation", "strength=0.5", "overwrite=true")
    assert (pixels(some / "a_seed0.png") != original).any()


@pytest.mark.parametrize("run", ["gan", "ddpm"])
def test_ways_between_samples_begin_and_end_with_them(
    runs: dict[str, Path], tmp_path: Path, run: str
) -> None:
    usual = ["seed=5", "sampling.sampler=ddim", "sampling.eta=0"] if run == "ddpm" else ["seed=5"]
    sample.sample(asked(runs[run], "n=3", f"output={tmp_path / 's'}", *usual))
    for _ in range(2):
        ways = ["task=interpolate", "images=4", "n=3", f"output={tmp_path / 'ways'}"]
        sample.sample(asked(runs[run], *ways, *usual))
    results = [f"seed5_{i}-{i + 1}_{k:02d}.png" for i in (0, 1) for k in range(4)]
    assert names(tmp_path / "ways") == sorted([*results, "result.json", "sheet.png"])
    first, last = (pixels(tmp_path / "ways" / f"seed5_{name}.png") for name in ("0-1_00", "1-2_03"))
    if run == "gan":  # a diffusion model draws each image's class from its seed, a way's is one
        assert abs(last.astype(int) - pixels(tmp_path / "s" / "000002.png").astype(int)).max() <= 1
    assert abs(first.astype(int) - pixels(tmp_path / "s" / "000000.png").astype(int)).max() <= 1
    assert json.loads((tmp_path / "ways" / "result.json").read_text())["kept"] == 8


def test_ways_between_given_images_are_made_where_the_method_encodes_them(
    runs: dict[str, Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read = sources.load
    monkeypatch.setattr(
        sources, "load", lambda path, s: (decoded.append(path.name), read(path, s))[1]
    )
    output = do(runs["ddpm"], photos, "task=interpolate", "images=3", "label=0")
    assert decoded == ["a.png", "b.jpg", "c.webp"]
    results = [f"{way}_{k:02d}.png" for way in ("a-b", "b-c") for k in range(3)]
    assert names(output) == sorted([*results, "result.json", "sheet.png"])
    with pytest.raises(ValueError, match="1 image to interpolate; give input= a folder"):
        do(runs["ddpm"], photos / "a.png", "task=interpolate")


def test_images_are_asked_for(runs: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="give input=FILE or input=FOLDER/"):
        sample.sample(asked(runs["mae"], *BOX))


def test_noise_beyond_what_the_model_learnt_from_is_told(
    runs: dict[str, Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do(runs["dae"], photos, "task=denoise", "noise=2")
    assert "warning: noise=2 lies outside 0.05 to 0.8" in capsys.readouterr().out


def test_a_way_leaves_out_what_is_damaged_and_says_so(runs: dict[str, Path], photos: Path) -> None:
    whole = (photos / "a.png").read_bytes()
    middle = len(whole) // 2
    (photos / "aa.png").write_bytes(whole[:middle] + bytes(20) + whole[middle + 20 :])
    with pytest.raises(ConfigError, match="1 of 4 images were left out"):
        do(runs["ddpm"], photos, "task=interpolate", "images=2", "label=0")
    record = json.loads((photos.parent / "out" / "result.json").read_text())
    assert [Path(entry["input"]).name for entry in record["skipped"]] == ["aa.png"]
    assert [(way["from"], way["to"]) for way in record["files"]] == [("a", "b"), ("b", "c")]
