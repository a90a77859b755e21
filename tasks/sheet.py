"""Images side by side under captions: what was given, what a model saw, what it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

SMALLEST_SIDE, LARGEST_SIDE, GAP, CAPTION = 84, 256, 3, 16


def sheet(columns: Mapping[str, Sequence[Tensor]]) -> Image.Image:
    """Give one picture with a column of images for each caption, a row for each image.

    Args:
        columns: uint8 images ``(C, H, W)`` by the caption, as many of each; C is 1 or 3. Small ones
            are enlarged by a whole factor with their pixels square, large ones reduced.
    """
    cells = {caption: [cell(image) for image in images] for caption, images in columns.items()}
    rows = list(zip(*cells.values(), strict=True))
    font = ImageFont.load_default(size=11)
    widths = [
        max(*(image.width for image in images), round(font.getlength(caption)))
        for caption, images in cells.items()
    ]
    heights = [max(image.height for image in row) for row in rows]
    size = sum(widths) + GAP * (len(widths) + 1), CAPTION + sum(heights) + GAP * (len(rows) + 1)
    picture = Image.new("RGB", size, "white")
    draw, left = ImageDraw.Draw(picture), GAP
    for k, (caption, width) in enumerate(zip(cells, widths, strict=True)):
        draw.text((left, 1), caption, "black", font)
        top = CAPTION + GAP
        for row, height in zip(rows, heights, strict=True):
            picture.paste(row[k], (left, top))
            top += height + GAP
        left += width + GAP
    return picture


def cell(image: Tensor) -> Image.Image:
    """Give uint8 ``(C, H, W)`` as a picture of a size to look at."""
    shown: Image.Image = to_pil_image(image).convert("RGB")
    factor = -(-SMALLEST_SIDE // min(shown.size))
    if factor > 1:
        shown = shown.resize(
            (shown.width * factor, shown.height * factor), Image.Resampling.NEAREST
        )
    shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return shown
