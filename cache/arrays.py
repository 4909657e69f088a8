"""Reads arrays from untrusted files: ``.npy``, ``.npz`` and HDF5.

Nothing is unpickled, and links out of a file are not followed. The declared shape and type are checked before
an array is read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import h5py
import numpy as np

from .errors import StoreError
from .order import natural
from .shards import unlocked

LARGEST = 1 << 30
"""Maximum bytes of one array: hours of video at usual dimensions. A larger one is broken, or a bomb."""

NPY, NPZ, HDF5 = (".npy",), (".npz",), (".h5", ".hdf5", ".hdf")
HEADER_BYTES = 1 << 16


class Arrays(ABC):
    """The arrays of a folder or file, by name: the path inside it, without leading slash or ``.npy``.

    Attributes:
        path: the folder or file.
        names: names of all arrays, in natural order.
    """

    def __init__(self, path: Path, names: list[str], file: Any = None) -> None:
        self.path = path
        self.names = sorted(names, key=natural)
        self._handle = file

    def __enter__(self) -> Arrays:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the declared shape of an array of floats, without reading its values.

        Raises:
            StoreError: the array cannot be read, is too large, or is not of floats.
        """
        with _store_errors():
            shape, dtype = self._declared(name)
        _check(shape, dtype)
        return shape

    def read(self, name: str) -> tuple[np.ndarray, str]:
        """Return an array and the SHA-256 of its ``.npy`` file (in HDF5: of its bytes).

        Raises:
            StoreError: the array cannot be read, is too large, or is not of floats.
        """
        self.shape(name)
        with _store_errors():
            return self._load(name)

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._handle is not None:
            self._handle.close()

    @abstractmethod
    def _declared(self, name: str) -> tuple[tuple[int, ...], np.dtype]: ...

    @abstractmethod
    def _load(self, name: str) -> tuple[np.ndarray, str]: ...


def open_arrays(path: Path) -> Arrays:
    """Open a folder of ``.npy`` files (searched recursively) or a single ``.npy``, ``.npz`` or HDF5 file.

    Raises:
        StoreError: the path does not exist, is of another type, cannot be opened, or holds no arrays.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        arrays: Arrays = NpyFolder(path)
    elif not path.exists():
        raise StoreError(f"{path} does not exist; name a folder of .npy files, an .npz or an HDF5 file")
    elif suffix not in (*NPY, *NPZ, *HDF5):
        raise StoreError(
            f"{path} is not a file of arrays ({', '.join((*NPY, *NPZ, *HDF5))}); name one, or a folder "
            "of .npy files"
        )
    else:
        with _store_errors(f"{path} cannot be opened: "):
            arrays = NpyFolder(path) if suffix in NPY else NpzFile(path) if suffix in NPZ else Hdf5File(path)
    if not arrays.names:
        arrays.close()
        others = sorted({file.suffix for file in path.glob("*") if file.suffix}) if path.is_dir() else []
        extra = f" (it has {', '.join(others)})" if others else ""
        raise StoreError(
            f"{path} holds no arrays{extra}; expected a folder of .npy files, one per clip, or one .npz or "
            "HDF5 file with one array per clip, not links to arrays"
        )
    return arrays


class NpyFolder(Arrays):
    """A folder of ``.npy`` files, or a single ``.npy`` file."""

    def __init__(self, path: Path) -> None:
        self._root = path if path.is_dir() else path.parent
        files = [file for file in path.rglob("*.npy") if file.is_file()] if path.is_dir() else [path]
        below = [file.relative_to(self._root) for file in files if not file.name.startswith(".")]
        super().__init__(path, [file.as_posix()[: -len(file.suffix)] for file in below])
        self._suffix = ".npy" if path.is_dir() else path.suffix

    def _declared(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self._open(name) as file:
            shape, dtype, start = _header(file)
            _check_size(shape, dtype, os.fstat(file.fileno()).st_size - start)
        return shape, dtype

    def _load(self, name: str) -> tuple[np.ndarray, str]:
        with self._open(name) as file:
            return _parse(file.read())

    def _open(self, name: str) -> Any:
        return (self._root / f"{name}{self._suffix}").open("rb")


class NpzFile(Arrays):
    """An ``.npz`` file: a zip of ``.npy`` files."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        members = [info for info in self._zip.infolist() if info.filename.endswith(".npy")]
        self._members = {info.filename.lstrip("/")[: -len(".npy")]: info for info in members}
        super().__init__(path, list(self._members), self._zip)

    def _declared(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self._zip.open(self._members[name]) as file:
            shape, dtype, start = _header(file)
        _check_size(shape, dtype, self._members[name].file_size - start)
        return shape, dtype

    def _load(self, name: str) -> tuple[np.ndarray, str]:
        with self._zip.open(self._members[name]) as file:
            return _parse(file.read())


class Hdf5File(Arrays):
    """An HDF5 file. Datasets in groups are named ``group/name``; links are not followed."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            if error.errno != errno.ENOLCK:
                raise
            self._file = unlocked(path)
        found: dict[str, Any] = {}
        self._file.visititems(found.__setitem__)  # skips links, and visits no object twice
        names = [name for name, item in found.items() if isinstance(item, h5py.Dataset)]
        super().__init__(path, names, self._file)

    def _declared(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        dataset = self._file[name]
        if dataset.is_virtual or dataset.external:
            raise StoreError("its values are in other files, which are not read; copy them into this one")
        return dataset.shape or (), dataset.dtype

    def _load(self, name: str) -> tuple[np.ndarray, str]:
        array = np.ascontiguousarray(self._file[name][()])
        return array, hashlib.sha256(array.data).hexdigest()


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return the shape, the type and the offset of the values."""
    head = io.BytesIO(file.read(HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(head)
    else:
        raise StoreError(
            f"is an .npy of version {version}; expected (1, 0) or (2, 0): write it again as float32"
        )
    return shape, dtype, head.tell()


def _check_size(shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
    """Reject a ``.npy`` file whose size differs from what its header declares, before reading any values."""
    declared = prod(shape) * dtype.itemsize
    if not dtype.hasobject and declared != size and declared <= LARGEST:
        raise StoreError(f"declares {declared} bytes, {dtype}{list(shape)}, but holds {size}; write it again")


def _parse(content: bytes) -> tuple[np.ndarray, str]:
    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array, hashlib.sha256(content).hexdigest()


def _check(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind != "f":
        what = "Python objects, which are never unpickled" if dtype.hasobject else f"{dtype} values"
        raise StoreError(f"holds {what}; floats are expected: write it again as float32")
    size = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > LARGEST:
        raise StoreError(
            f"declares {dtype}{list(shape)}, {size / 2**30:.1f} GiB; at most {LARGEST >> 30} GiB is read per "
            "clip"
        )


@contextmanager
def _store_errors(prefix: str = "cannot be read: ") -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # an untrusted file may make a library raise anything
        detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StoreError(f"{prefix}{detail or type(error).__name__}") from error
