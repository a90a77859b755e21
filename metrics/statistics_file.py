"""Mean and covariance of a reference in the file that pytorch-fid and torch-fidelity know."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from metrics.extractors import FeatureExtractor
from metrics.reference import ReferenceStatistics, write_atomically


def read_statistics(path: Path, extractor: FeatureExtractor) -> ReferenceStatistics:
    """Give the statistics of an ``.npz`` with ``mu`` ``(d,)`` and ``sigma`` ``(d, d)``.

    They have no features, so FID alone can be had of them. The file does not say which network
    made them: that it was ``extractor`` is the caller's word, the number of features is checked.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for another content, other sizes, or numbers that are no mean and covariance.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no statistics file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in ("mu", "sigma", "n") if name in file}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npz of arrays ({error})") from error
    if missing := {"mu", "sigma"} - found.keys():
        raise ValueError(f"{path} has no {' and no '.join(sorted(missing))}; expected mu and sigma")
    mu, sigma = (torch.from_numpy(found[name].astype(np.float64)) for name in ("mu", "sigma"))
    d = extractor.dim
    if mu.shape != (d,) or sigma.shape != (d, d):
        raise ValueError(
            f"{path} has mu {tuple(mu.shape)} and sigma {tuple(sigma.shape)}, but {extractor.name} "
            f"has {d} features; name the network that made it by extractor="
        )
    symmetric = torch.allclose(sigma, sigma.T, rtol=1e-6, atol=1e-8 * float(sigma.abs().max()))
    if not (mu.isfinite().all() and symmetric):
        raise ValueError(f"{path} has values that are not finite, or a sigma not symmetric")
    content = hashlib.sha256(mu.numpy().tobytes() + sigma.numpy().tobytes()).hexdigest()
    return ReferenceStatistics(
        mean=mu, cov=(sigma + sigma.T) / 2, n=int(found.get("n", 0)), subset=torch.empty(0, d),
        fingerprint=content, extractor_sha256=extractor.weights_sha256, sha256=content,
    )  # fmt: skip


def write_statistics(path: Path, statistics: ReferenceStatistics) -> None:
    """Write ``mu``, ``sigma`` (float64), and the number of images as ``n``, which others ignore.

    Raises:
        OSError: where it cannot be written.
    """
    file = io.BytesIO()
    mu, sigma = statistics.mean.numpy(), statistics.cov.numpy()
    np.savez(file, mu=mu, sigma=sigma, n=np.int64(statistics.n))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())
