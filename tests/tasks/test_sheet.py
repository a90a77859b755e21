from __future__ import annotations

import numpy as np
import torch

from tasks.sheet import GAP, cell, sheet


def test_a_row_for_each_image_and_a_column_for_each_caption() -> None:
    grey, colour = torch.full((1, 8, 8), 90).byte(), torch.zeros(3, 8, 8).byte()
    colour[0] = 200
    picture = np.asarray(sheet({"input": [grey, colour], "seed 0": [colour, grey]}))
    side = cell(grey).width
    assert side == 88  # a whole factor of 8, at least 84
    row, column = picture.shape[0] - GAP - side // 2, GAP + side // 2
    assert picture[row, column].tolist() == [200, 0, 0]
    assert picture[row, column + side + GAP].tolist() == [90, 90, 90]
    assert picture[row - side - GAP, column].tolist() == [90, 90, 90]


def test_large_images_are_reduced_and_keep_their_shape() -> None:
    assert cell(torch.zeros(3, 512, 1024).byte()).size == (256, 128)
