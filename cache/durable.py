"""Writes files that survive a power cut: under its final name, a file is either complete or absent.

All durable writes, syncs and renames go through this module.
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
    """Yield a temporary path; when the block ends without an error, sync it and rename it to ``path``.

    After an error, ``path`` is unchanged. Temporary files that killed processes left for it are removed.
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
    """Return a hidden path beside ``path``, unique across processes and machines."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def discard_abandoned(folder: Path, name: str = "*") -> None:
    """Remove temporary files in ``folder`` (all, or those of the file ``name``) whose process has ended.

    Only this machine's processes can be checked, so other machines' files stay.
    """
    pattern = name if name == "*" else glob.escape(name)
    for path in folder.glob(f".{pattern}.{HOST}-*.tmp"):
        process = re.fullmatch(r".*-(\d+)-[0-9a-f]{8}\.tmp", path.name)
        if process and not is_running(int(process[1])):
            discard(path)


def is_running(process: int) -> bool:
    """Whether a process of this machine may still be running."""
    if os.name == "nt":  # on Windows, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def put(finished: Path, path: Path) -> None:
    """Move a finished file to ``path`` on the same disk, replacing any file there."""
    sync(finished)  # before the rename: the final name must never refer to bytes that are not on disk
    finished.replace(path)
    sync(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file's bytes and sync the copy."""
    shutil.copyfile(source, target)
    sync(target)


def discard(path: Path) -> None:
    """Remove an unfinished file, if it exists, and free its space at once."""
    with suppress(OSError):
        # A library that failed on the file may still hold it open, which would keep its space allocated.
        os.truncate(path, 0)
    with suppress(OSError):
        path.unlink()


def append(path: Path, lines: bytes) -> None:
    """Append whole lines to a file, creating it if needed, and sync it.

    If writing fails (full disk), the file is truncated to its old length. If that fails too, the torn line
    stays, and the next append starts on a new line.
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
    """Create a folder and any missing parents, durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Force a file's bytes, or the names in a folder, to disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (folder and error.errno == errno.EINVAL):  # some network file systems cannot sync folders
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
