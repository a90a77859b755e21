"""Where a run comes from."""

from __future__ import annotations

import os
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any

PACKAGES = ("torch", "lightning", "torchvision", "torchmetrics", "timm", "wandb", "hydra-core")


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    """Give where a run comes from: command, seed, versions, commit."""
    return {
        "status": "starting",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(["python", os.path.basename(sys.argv[0]), *sys.argv[1:]]),
        "seed": config["seed"],
        "method": config["method"]["_target_"].rsplit(".", 1)[-1],
        "data": config["data"]["_target_"].rsplit(".", 1)[-1],
        "precision": config["trainer"]["precision"],
        "versions": {"python": sys.version.split()[0], **_versions()},
        "git": _git(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any]:
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here)]
        commit = check_output([*command, "rev-parse", "HEAD"], text=True, stderr=DEVNULL).strip()
        changed = check_output([*command, "status", "--porcelain"], text=True, stderr=DEVNULL)
        return {"commit": commit, "changed": bool(changed.strip())}
    except (OSError, CalledProcessError):
        return {}
