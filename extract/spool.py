"""Growing arrays: kept in memory while small, and in a file if a clip is long.

The files are in a folder of the run's own, ``spool-…`` in the store, which the next run removes if this one
is killed. A lock marks the folder of a live run: it ends with its process, even over a network. Some network
file systems only pretend to lock, so another machine's folder must also have been idle for a day.
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
ALIVE = "alive"  # the locked file; it contains the machine's identity
HEARTBEAT = 600.0  # seconds between a run's signs of life
STALE_SECONDS = 86_400.0  # seconds without a sign of life after which a run is dead


class OnDisk(np.memmap[Any, np.dtype[Any]]):
    """A finished array in a raw file, as a memory map. Pickling passes only its path to another process."""

    @classmethod
    def open(cls, path: Path, dtype: str, shape: tuple[int, ...]) -> OnDisk:
        """Open the array in a file."""
        return cls(path, np.dtype(dtype), "r", shape=shape)

    @property
    def path(self) -> Path:
        """Path of the file."""
        return Path(str(self.filename))

    def __reduce__(self) -> Any:
        if not isinstance(getattr(self, "base", None), mmap):  # a slice of the array
            return super().__reduce__()
        return OnDisk.open, (self.path, self.dtype.str, self.shape)


@contextmanager
def spool_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in ``parent`` for one run's spools, and remove it at the end.

    Folders of dead runs are removed first.

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
            with suppress(OSError):  # no locks on this file system; signs of life must suffice
                _lock(file)
            (folder / ".new").rename(folder / ALIVE)  # it is locked before it becomes visible
            Thread(target=_send_heartbeats, args=(folder, ended), daemon=True).start()
            yield folder
    finally:
        ended.set()
        shutil.rmtree(folder, ignore_errors=True)


def remove_dead(parent: Path) -> None:
    """Remove the spool folders of killed runs."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_dead(folder, parent):
            shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path, parent: Path) -> bool:
    try:
        with (folder / ALIVE).open("rb+", buffering=0) as file:
            if not _lock(file):
                return False
            if file.read() == _machine():
                return True
    except OSError:
        pass  # it is being created, or cannot be locked
    return _is_stale(folder, parent)


def _is_stale(folder: Path, parent: Path) -> bool:
    """Whether the folder has not changed for a day, by the clock of the file system."""
    try:
        latest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".clock-") as now:
            return os.fstat(now.fileno()).st_mtime - latest > STALE_SECONDS
    except OSError:
        return False


def _lock(file: FileIO) -> bool:
    """Lock a file until it is closed; return false if another process holds the lock.

    Raises:
        OSError: files cannot be locked here.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows, which does not remove open files anyway
        raise OSError("no locks here") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _send_heartbeats(folder: Path, ended: Event) -> None:
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(folder)


def _machine() -> bytes:
    """Identify this machine and boot: other machines' processes cannot be known to be dead."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return platform.node().encode()


class Spool:
    """Joins blocks ``[t, ...]`` into one array ``[T, ...]``, keeping at most 32 MiB in memory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{secrets.token_hex(8)}.raw"
        self._blocks: list[np.ndarray] = []
        self._nbytes = 0
        self._rows_on_disk = 0

    def append(self, block: np.ndarray) -> None:
        self._blocks.append(np.array(block))  # a view would keep its base alive
        self._nbytes += block.nbytes
        if self._nbytes > MEMORY_BYTES:
            with self._path.open("ab") as file:
                for part in self._blocks:
                    np.ascontiguousarray(part).tofile(file)
            self._rows_on_disk += sum(map(len, self._blocks))
            self._blocks, self._nbytes = [np.empty_like(block[:0])], 0

    def finish(self) -> np.ndarray:
        """Return the whole array; a long one is :class:`OnDisk`. Requires at least one block."""
        rest = np.concatenate(self._blocks)
        if not self._rows_on_disk:
            return rest
        with self._path.open("ab") as file:
            rest.tofile(file)
        return OnDisk.open(self._path, rest.dtype.str, (self._rows_on_disk + len(rest), *rest.shape[1:]))


def discard(array: np.ndarray) -> None:
    """Remove the file of an array that is no longer needed, if it has one."""
    if isinstance(array, OnDisk) and array.filename:
        with suppress(OSError):  # Windows cannot remove a mapped file; the end of the run does
            array.path.unlink()


def gathered(blocks: Iterable[np.ndarray], folder: Path) -> np.ndarray:
    """Join blocks into one array; a long one is :class:`OnDisk`. There must be at least one block."""
    spool = Spool(folder)
    for block in blocks:
        spool.append(block)
    return spool.finish()
