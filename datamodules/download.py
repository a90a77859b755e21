"""Sets that torchvision can fetch, and downloads that end soon when there is no network."""

from __future__ import annotations

import contextlib
import io
import socket
from abc import abstractmethod
from pathlib import Path
from typing import Any

from datamodules.in_memory import InMemoryDataModule

SECONDS_WITHOUT_ANSWER = 15.0


def try_download(dataset: Any, folder: Path, **options: Any) -> str:
    """Lets a torchvision class download itself into `folder`; gives "" or why that failed.

    A server that does not answer, as behind a firewall which swallows packets, is given up after
    15 seconds.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_ANSWER)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            dataset(str(folder), download=True, **options)
    except (OSError, RuntimeError, EOFError, ImportError) as error:
        return " ".join(f"the download failed ({type(error).__name__}: {error})".split())
    finally:
        socket.setdefaulttimeout(before)
    return ""


class DownloadedDataModule(InMemoryDataModule):
    """A set in memory whose files lie in a folder or can be fetched into it.

    data_dir: torchvision's root folder
    download: fetch the files where they are missing
    The other parameters are those of `InMemoryDataModule`.
    """

    dataset: Any
    """The class of torchvision that downloads the set."""

    def __init__(
        self,
        *,
        batch_size: int,
        channels: int,
        image_size: int,
        num_classes: int,
        seed: int,
        horizontal_flip: bool,
        validation_size: int,
        resident: str,
        data_dir: str,
        download: bool,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            channels=channels,
            image_size=image_size,
            num_classes=num_classes,
            seed=seed,
            horizontal_flip=horizontal_flip,
            validation_size=validation_size,
            resident=resident,
        )
        self.data_dir, self.download = data_dir, download
        self._failure = "" if download else "it is false now"

    @property
    def root(self) -> Path:
        """`data_dir` as a path."""
        return Path(self.data_dir).expanduser()

    @property
    def failure(self) -> str:
        """What became of the download, in brackets, for an error about missing files."""
        return f" ({self._failure})" if self._failure else ""

    @abstractmethod
    def present(self) -> bool:
        """Whether the files are there."""

    def prepare_data(self) -> None:
        """Downloads the files where they are missing, in one process of each machine.

        A failure is told by `setup`, which every process runs, so that none of them waits.
        """
        if self.download and not self.present():
            self._failure = try_download(self.dataset, self.root)
