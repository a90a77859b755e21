"""Images of a trained run, from noise or of given ones.

``python sample.py run=RUN n=64 seed=0 output=DIR/ or FILE.npz``
``python sample.py run=RUN task=inpaint mask.box=[8,8,12,12] input=FILE or DIR/ output=DIR/``
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

import command_line
from config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from use_run import RunInUse

GRID_IMAGES = 100
# Asked for as output these mean a file; any other name but NAME.npz is a folder.
FILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".npy", ".pt", ".zip", ".pdf")


@hydra.main(version_base="1.3", config_path="conf", config_name="sample")
def main(cfg: DictConfig) -> None:
    """Compose, then do the task."""
    with command_line.clear_errors():
        sample(cfg)


def sample(cfg: DictConfig) -> None:
    """Do the task that is asked for."""
    import use_task

    name = use_task.task_named(cfg.task, ["generate", *cfg.tasks])
    if name == "generate":
        write_generated(cfg)
    else:
        use_task.edit(cfg)


def write_generated(cfg: DictConfig) -> None:
    """Write ``n`` images of the run; image i depends on (seed, i) alone."""
    import use_run
    import use_task

    asked = use_run.read_request(cfg)
    use_task.check_generate(asked)
    output = Path(
        os.path.abspath(asked["output"] or f"{asked['run']}/generated.npz")
    )  # "." has no name to call the grid after
    check_output(output, asked["n"])
    run = use_run.open_run(cfg)
    if "sample" not in run.module.capabilities:
        raise ConfigError(run.module.lacking("sample"))
    if run.content == "points" and output.suffix != ".npz":
        raise ConfigError(f"output={output}: points are written to a file; give NAME.npz")
    if run.fabric.is_global_zero:
        prepare(output)
        print(run.about, flush=True)
    images = generate(run)
    if run.fabric.is_global_zero:
        for path in (write if run.content == "images" else write_points)(images, output):
            print(f"wrote {path}")


def check_output(output: Path, n: int) -> None:
    """Refuse an ``output`` that could not be written, or would mix with what lies there.

    Every process checks, before they wait for each other.
    """
    if output.suffix in FILE_SUFFIXES:
        raise ConfigError(f"output={output}: expected a folder, or a file that ends in .npz")
    is_file = output.suffix == ".npz"
    if output.exists() and output.is_dir() == is_file:
        kind = "a folder" if is_file else "a file"
        raise ConfigError(f"output={output} is {kind} already; choose another output=")
    there = next(path for path in (output, *output.parents) if path.exists() and path != output)
    place = output if output.is_dir() else there
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"cannot write to {place}; choose another output=")
    numbers = [int(path.stem) for path in output.glob("*.png") if path.stem.isdecimal()]
    if numbers and max(numbers) >= n:
        raise ConfigError(
            f"output={output} holds images of an earlier call up to number {max(numbers)}, which "
            f"would stay among the {n} new ones; remove them or choose another output="
        )


def prepare(output: Path) -> None:
    """Make the folder that ``output`` needs, before images are made that could not be kept."""
    folder = output.parent if output.suffix == ".npz" else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {folder} ({error.strerror}); choose output=") from error


def generate(run: RunInUse) -> Tensor:
    """Give all images ``(n, C, H, W)`` in order on rank 0; its own share on another rank.

    Images are uint8, points float32.
    """
    import torch
    from tqdm import tqdm

    from lightning_modules import generation
    from metrics.gather import gather_rows

    asked, (rank, world_size) = run.asked, run.share
    as_bytes = run.content == "images"
    chunks = generation.generate if as_bytes else generation.generate_floats
    made = list(
        tqdm(
            chunks(run.module, asked["n"], asked["seed"], rank, world_size, asked["label"]),
            desc=f"sampling in chunks of {run.module.chunk_size}",
            disable=rank > 0 or None,
        )
    )
    dtype = torch.uint8 if as_bytes else torch.float32
    indices = gather_rows([chunk.indices for chunk in made], (), torch.int64)
    images = gather_rows([chunk.images for chunk in made], run.module.image_shape, dtype)
    return images[indices.argsort()]


def write(images: Tensor, output: Path) -> list[Path]:
    """Write images as ``output`` asks and a grid of the first hundred; give the paths."""
    from PIL import Image

    from callbacks.pictures import grid, save_picture
    from functional.images import to_float

    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    if output.suffix == ".npz":
        save_arrays(output, images=pixels)
    else:
        digits = max(6, len(str(len(pixels))))
        for i, image in enumerate(pixels):
            mode = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(mode).save(output / f"{i:0{digits}d}.png")
    name = output.stem if output.suffix == ".npz" else output.name
    beside = output.with_name(f"{name}_grid.png")
    return [output, save_picture(grid(to_float(images[:GRID_IMAGES])), beside)]


def write_points(points: Tensor, output: Path) -> list[Path]:
    """Write points ``(n, 2)`` float32 to ``output`` and a picture of them; give the paths."""
    from callbacks.pictures import save_picture
    from callbacks.scatter import BLUE, scatter

    save_arrays(output, points=points.flatten(1).numpy())
    picture = scatter((points, BLUE), side=400)
    return [output, save_picture(picture, output.with_name(f"{output.stem}_scatter.png"))]


def save_arrays(output: Path, **arrays: Any) -> None:
    """Write an ``.npz`` file, whole or not at all."""
    import numpy as np

    partial = output.with_name(f".{output.stem}.partial.npz")
    np.savez(partial, **arrays)
    os.replace(partial, output)


if __name__ == "__main__":
    command_line.run(main)
