"""Writes files so that they survive a power cut: a file is complete under its name, or it does not exist.

Every write, sync and rename that must be durable is made here.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname()) or "host"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; it takes that place, synced, when the block ends without an error.

    An error leaves ``path`` as it was. What a killed process left of the same file is removed.
    """
    discard_abandoned(path.parent, path.name)
    unfinished = temporary(path)
    try:
        yield unfinished
        put(unfinished, path)
    except BaseException:
        discard(unfinished)
        raise


def temporary(path: Path) -> Path:
    """A hidden path beside ``path`` that no other process, on whatever machine, is given."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def discard_abandoned(folder: Path, name: str = "*") -> None:
    """Remove temporary files in ``folder``, or those of the file ``name`` alone, whose process has ended.

    Only this machine's processes are known; what another machine left stays.
    """
    pattern = name if name == "*" else glob.escape(name)
    for path in folder.glob(f".{pattern}.{HOST}-*.tmp"):
        process = re.fullmatch(r".*-(\d+)-[0-9a-f]{8}\.tmp", path.name)
        if process and not is_running(int(process[1])):
            discard(path)


def is_running(process: int) -> bool:
    """Whether a process of this machine may still run."""
    if os.name == "nt":  # where asking by signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def put(finished: Path, path: Path) -> None:
    """Move a finished file to ``path`` on the same disk, over whatever file is there."""
    sync(finished)  # before the rename: a name must never stand for bytes that are not on the disk
    finished.replace(path)
    sync(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file's bytes."""
    shutil.copyfile(source, target)
    sync(target)


def discard(path: Path) -> None:
    """Remove an unfinished file, if there is one, and free its space at once."""
    with suppress(OSError):
        # A library that failed on it may hold it open, and its space would be free only when that ends.
        os.truncate(path, 0)
    with suppress(OSError):
        path.unlink()


def append(path: Path, lines: bytes) -> None:
    """Append whole lines to a file of lines, which is made if it is not there.

    A failure (a full disk) takes back what was written of them; should that fail too, the torn rest stays a
    line of its own, and the next append begins a new one.
    """
    new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        length = os.lseek(handle, 0, os.SEEK_END)
        if length and _last_byte(handle, length) != b"\n":
            lines = b"\n" + lines
        try:
            _write(handle, lines)
            os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, length)
            raise
    finally:
        os.close(handle)
    if new:
        sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are not there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Force a file's bytes, or the names in a folder, to the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (folder and error.errno == errno.EINVAL):  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def _last_byte(handle: int, length: int) -> bytes:
    os.lseek(handle, length - 1, os.SEEK_SET)
    return os.read(handle, 1)


def _write(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
