"""Arrays that grow: in memory while they are small, in a file when a clip is long.

The files lie in a folder of the run's own, ``spool-…`` in the store, which the next run removes if this one
is killed. A lock tells the living from the dead: it ends with its process, even over a network. Some network
file systems only pretend to lock, so a folder of another machine must be a day old as well.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from mmap import mmap
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from .errors import ExtractError

MEMORY_BYTES = 32 << 20
PREFIX = "spool-"
ALIVE = "alive"  # the file that is locked; it says on which machine
HEARTBEAT = 600.0  # seconds between the signs of life of a run
FORGOTTEN = 86_400.0  # seconds without one


class OnDisk(np.memmap[Any, np.dtype[Any]]):
    """A finished array in a raw file, as a memory map; between processes only its path travels."""

    @classmethod
    def open(cls, path: Path, dtype: str, shape: tuple[int, ...]) -> OnDisk:
        """The array of a file."""
        return cls(path, np.dtype(dtype), "r", shape=shape)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(str(self.filename))

    def __reduce__(self) -> Any:
        if not isinstance(getattr(self, "base", None), mmap):  # a part of it
            return super().__reduce__()
        return OnDisk.open, (self.path, self.dtype.str, self.shape)


@contextmanager
def spool_folder(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent`` for the spools of one run, gone at the end; those of dead runs go first.

    Raises:
        ExtractError: ``parent`` cannot be written.
    """
    remove_dead(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise ExtractError(
            f"cannot write into {parent}: {error.strerror}; make it writable, or name another --store"
        ) from error
    ended = Event()
    try:
        with (folder / ".new").open("wb", buffering=0) as file:
            file.write(_machine())
            with suppress(OSError):  # a file system without locks; the signs of life must do
                _locked(file)
            (folder / ".new").rename(folder / ALIVE)  # locked before anybody can see it
            Thread(target=_beat, args=(folder, ended), daemon=True).start()
            yield folder
    finally:
        ended.set()
        shutil.rmtree(folder, ignore_errors=True)


def remove_dead(parent: Path) -> None:
    """Remove the spools of runs that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _dead(folder, parent):
            shutil.rmtree(folder, ignore_errors=True)


def _dead(folder: Path, parent: Path) -> bool:
    try:
        with (folder / ALIVE).open("rb+", buffering=0) as file:
            if not _locked(file):
                return False
            if file.read() == _machine():
                return True
    except OSError:
        pass  # it is just being made, or cannot be locked
    return _forgotten(folder, parent)


def _forgotten(folder: Path, parent: Path) -> bool:
    """Whether nothing has changed there for a day, by the clock of the file system."""
    try:
        latest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".clock-") as now:
            return os.fstat(now.fileno()).st_mtime - latest > FORGOTTEN
    except OSError:
        return False


def _locked(file: FileIO) -> bool:
    """Lock it until it is closed; false if another process holds the lock.

    Raises :class:`OSError` where files cannot be locked.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows; there an open file cannot be removed anyway
        raise OSError("no locks here") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _beat(folder: Path, ended: Event) -> None:
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(folder)


def _machine() -> bytes:
    """This machine since its start: a process of another one cannot be known to be dead."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return platform.node().encode()


class Spool:
    """Blocks ``[t, ...]`` appended to one array ``[T, ...]``, of which at most 32 MB stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{secrets.token_hex(8)}.raw"
        self._blocks: list[np.ndarray] = []
        self._nbytes = 0
        self._rows_on_disk = 0

    def append(self, block: np.ndarray) -> None:
        self._blocks.append(np.array(block))  # a view would keep alive all of what it is a part of
        self._nbytes += block.nbytes
        if self._nbytes > MEMORY_BYTES:
            with self._path.open("ab") as file:
                for part in self._blocks:
                    np.ascontiguousarray(part).tofile(file)
            self._rows_on_disk += sum(map(len, self._blocks))
            self._blocks, self._nbytes = [np.empty_like(block[:0])], 0

    def finish(self) -> np.ndarray:
        """The whole array; a long one is :class:`OnDisk`. At least one block must have been appended."""
        rest = np.concatenate(self._blocks)
        if not self._rows_on_disk:
            return rest
        with self._path.open("ab") as file:
            rest.tofile(file)
        return OnDisk.open(self._path, rest.dtype.str, (self._rows_on_disk + len(rest), *rest.shape[1:]))


def discard(array: np.ndarray) -> None:
    """Remove the file of an array that is needed no more, if it has one."""
    if isinstance(array, OnDisk) and array.filename:
        with suppress(OSError):  # Windows keeps a file that is mapped; the end of the run removes it
            array.path.unlink()


def gathered(blocks: Iterable[np.ndarray], folder: Path) -> np.ndarray:
    """All of the blocks in one array, a long one :class:`OnDisk`. There must be one at least."""
    grown = Spool(folder)
    for block in blocks:
        grown.append(block)
    return grown.finish()
