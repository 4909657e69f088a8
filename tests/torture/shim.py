"""Intercepts a process's file operations: counts them, and stops the process or fails at one point.

Every open for writing, write, sync, rename, removal, truncation and creation of a folder is a *point*,
including those of HDF5, which writes through a Python file here. Nothing else is replaced: the code under
test is the product's.

There are two kinds of crash. A *kill* stops the process; what it wrote is in the system's memory and will
reach the disk. A *power cut* leaves each file with the bytes of its last sync, and each folder either with
the names of its last sync (``cut``) or with its current names (``cut, names kept``): a file system may do
either.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EROFS", "EINTR", "EDQUOT")}
KILLS = ("kill before", "kill after", "cut", "cut, names kept")
WAYS = (*KILLS, *ERRORS, *(f"{name} twice" for name in ERRORS))
"""All that can happen at a point."""

_REAL = {
    name: getattr(os, name)
    for name in ("open", "write", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "truncate")
}
_REAL |= {"ftruncate": os.ftruncate, "sendfile": os.sendfile}
_OPEN = io.open
_H5 = h5py.File
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Shim:
    """Installed in a process that is to be tested, once, for good.

    Args:
        folder: all that is written lies in it; what it holds now is on the disk.
        way: one of :data:`WAYS`, or None to count only.
        at: the point, from 0.

    Attributes:
        points: what was done, in order.
    """

    def __init__(self, folder: Path, way: str | None = None, at: int = -1) -> None:
        self.folder, self.way, self.at = folder, way, at
        self.points: list[str] = []
        self._bytes: dict[int, bytes] = {}  # inode → what is on the disk
        self._names: dict[int, dict[str, int]] = {}  # inode of a folder → its names there
        self._files: dict[int, bool] = {}  # inode → is it a folder
        for path in (folder, *folder.rglob("*")):
            self._on_disk(path)

    def install(self) -> None:
        """Replace the functions, in this process."""
        for name, function in _REAL.items():
            setattr(os, name, self._point(name, function))
        builtins.open = io.open = self._opened  # type: ignore[assignment,misc]
        h5py.File = self._hdf5

    def _point(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            if name == "open" and not args[1] & WRITING:
                return function(*args, **options)
            return self._at_point(name, args, lambda: function(*args, **options))

        return act

    def _at_point(self, name: str, args: tuple[Any, ...], act: Callable[[], Any]) -> Any:
        number = len(self.points)
        self.points.append(name)
        here = number == self.at
        if self.way in KILLS and here and self.way != "kill after":
            self.crash()
        code = ERRORS.get((self.way or "").removesuffix(" twice"))
        if code and (here or (number == self.at + 1 and (self.way or "").endswith("twice"))):
            raise OSError(code, os.strerror(code))
        result = act()
        if name == "fsync":
            self._synced(args[0])
        if here and self.way == "kill after":
            self.crash()
        return result

    def _opened(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if not {*mode} & {*"wax+"} or isinstance(file, int):
            return _OPEN(file, mode, *args, **options)
        opened = self._at_point("open", (), lambda: _OPEN(file, mode, *args, **options))
        return _File(opened, self)

    def _hdf5(self, name: Any, mode: str = "r", **options: Any) -> Any:
        if mode == "r":
            return _H5(name, mode, **options)
        return _Written(self._opened(name, "w+b", buffering=0))

    # ------------------------------------------------------------------ what is on the disk

    def _on_disk(self, path: Path) -> None:
        inode = path.stat().st_ino
        self._files[inode] = path.is_dir()
        if path.is_dir():
            self._names[inode] = {each.name: each.stat().st_ino for each in path.iterdir()}
        else:
            self._bytes[inode] = path.read_bytes()

    def _synced(self, handle: int) -> None:
        self._on_disk(Path(f"/proc/self/fd/{handle}").readlink())

    def crash(self) -> None:
        """Stop this process, and leave on the disk what the way says."""
        if self.way in ("cut", "cut, names kept"):
            rest = self.folder.with_name(self.folder.name + ".rest")
            self._leave(self.folder.stat().st_ino, self.folder, rest)
            _remove(self.folder)
            _REAL["rename"](rest, self.folder)
        os.kill(os.getpid(), signal.SIGKILL)

    def _leave(self, inode: int, now: Path | None, target: Path) -> None:
        """Build what a power cut leaves of a folder."""
        _REAL["mkdir"](target)
        names = dict(self._names.get(inode, {}))
        there = {each.name: each for each in now.iterdir()} if now and now.is_dir() else {}
        if self.way == "cut, names kept":
            names = {name: each.stat().st_ino for name, each in there.items()}
        by_inode = {each.stat().st_ino: each for each in there.values()}
        for name, inode_of in names.items():
            place = by_inode.get(inode_of)
            folder = self._files.get(inode_of, bool(place and place.is_dir()))
            if folder:
                self._leave(inode_of, place, target / name)
            else:
                with _OPEN(target / name, "wb") as file:
                    file.write(self._bytes.get(inode_of, b""))


class _File:
    """A file of which each write is a point."""

    def __init__(self, file: Any, shim: Shim) -> None:
        self._file, self._shim = file, shim

    def write(self, content: Any) -> Any:
        return self._shim._at_point("write", (), lambda: self._file.write(content))

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Written(_H5):  # type: ignore[misc,valid-type]
    """An HDF5 file that closes the Python file under it."""

    def __init__(self, file: _File) -> None:
        self._under = file
        super().__init__(file, "w")

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._under.close()


def _remove(folder: Path) -> None:
    for name, function in _REAL.items():
        setattr(os, name, function)
    shutil.rmtree(folder)
