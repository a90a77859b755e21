from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metrics.extractors import build_extractor
from metrics.statistics_file import read_statistics


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(128)}, "has no sigma; expected mu and sigma"),
        ({"mu": np.zeros(4), "sigma": np.eye(4)}, "fmnist_cnn has 128 features"),
        ({"mu": np.zeros(128), "sigma": np.triu(np.ones((128, 128)))}, "not symmetric"),
    ],
)
def test_a_file_of_other_statistics_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read_statistics(tmp_path / "x.npz", build_extractor("fmnist_cnn"))
