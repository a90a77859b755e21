"""Workers of a parallel run take one thread each, and so do the processes that they start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gloo import outcomes

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def gloo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two processes of a module's gloo job write."""
    return tmp_path_factory.mktemp("gloo")


@pytest.fixture(scope="module")
def ranks(request: pytest.FixtureRequest, gloo_folder: Path) -> list[dict[str, Any]]:
    """What each process of the job of the module's ``worker`` saw, by case."""
    return outcomes(request.module.worker.__name__, gloo_folder)
