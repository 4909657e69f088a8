"""Shards: immutable HDF5 files with the arrays of many clips.

Arrays of one kind are concatenated in one contiguous dataset ``/<key digest>/<array>`` ``[ΣT, ...]``; the
journal records the rows of each clip. A shard is written under a temporary name, synced and renamed, so a
file with a shard's name is always complete.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from . import durable
from .errors import StoreError

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """The location of one clip's array: rows ``start:stop`` of a shard's dataset, and its XXH3 checksum.

    ``kind`` is the value of :func:`kind_of`, empty in stores of older versions.
    """

    shard: str
    dataset: str
    start: int
    stop: int
    checksum: str
    kind: str = ""

    def __post_init__(self) -> None:
        if os.path.basename(self.shard) != self.shard:  # noqa: PTH119  a journal is untrusted
            raise ValueError(f"a shard is a file in the store's shards folder, not {self.shard!r}")


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ``array`` in blocks of at most 8 MiB (at least one row) along its first axis.

    A memory-mapped array is read one block at a time.
    """
    row = max(1, array.nbytes // max(1, len(array)))
    step = max(1, BLOCK_BYTES // row)
    for start in range(0, len(array), step):
        yield np.ascontiguousarray(array[start : start + step])


def checksum(array: np.ndarray) -> str:
    """Return the XXH3 of the array's bytes in C order, as 16 hex digits."""
    digest = xxhash.xxh3_64()
    for block in blocks(array):
        digest.update(block.data.cast("B") if block.size else b"")
    return digest.hexdigest()


def kind_of(array: Any) -> str:
    """Return type and row shape, such as ``<f4[200]``: equal bytes of another kind are different values."""
    return f"{array.dtype.str}{list(array.shape[1:])}".replace(" ", "")


class Shard:
    """Collects arrays, then writes them all at once. Long arrays may be memory maps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nbytes = 0
        self._parts: dict[str, list[np.ndarray]] = defaultdict(list)
        self._rows: dict[str, int] = defaultdict(int)

    @property
    def arrays(self) -> int:
        """Number of arrays added so far, including empty ones."""
        return sum(map(len, self._parts.values()))

    def add(self, dataset: str, array: np.ndarray) -> ArrayRef:
        """Add ``array`` ``[T, ...]``, which is read again when the shard is written."""
        if array.ndim == 0:
            raise StoreError(f"{dataset} is a scalar; a stored array has time as its first axis")
        parts = self._parts[dataset]
        if parts and (parts[0].shape[1:] != array.shape[1:] or parts[0].dtype != array.dtype):
            raise StoreError(
                f"{dataset} is {array.dtype}{list(array.shape[1:])} a row, but the clips before it have "
                f"{parts[0].dtype}{list(parts[0].shape[1:])}: one key must give arrays of one kind"
            )
        start = self._rows[dataset]
        stop = start + len(array)
        parts.append(array)
        self._rows[dataset] = stop
        self.nbytes += array.nbytes
        return ArrayRef(self.path.name, dataset, start, stop, checksum(array), kind_of(array))

    def write(self) -> None:
        """Write the shard; once this returns, it survives a power cut.

        Raises:
            StoreError: the disk is full or cannot be written; everything stored before is intact.
        """
        try:
            with durable.replacing(self.path) as temporary, unlocked(temporary, "w") as file:
                for name, parts in self._parts.items():
                    shape = (self._rows[name], *parts[0].shape[1:])
                    data = file.create_dataset(name, shape=shape, dtype=parts[0].dtype)
                    row = 0
                    for block in (block for part in parts for block in blocks(part)):
                        data[row : row + len(block)] = block
                        row += len(block)
        except (OSError, RuntimeError) as error:  # on a full disk h5py raises either
            raise cannot_write(self.path, error) from error


def cannot_write(path: Path, error: Exception) -> StoreError:
    """Return the error for a store whose disk is full or fails."""
    return StoreError(
        f"cannot write {path}: {reason(error)}. Everything stored before is intact; "
        "free some space and run the same command again to continue."
    )


def reason(error: Exception) -> str:
    """Return why writing failed, in one line; h5py's messages are long and omit the system's."""
    number = getattr(error, "errno", None) or next(iter(re.findall(r"errno = (\d+)", str(error))), None)
    return os.strerror(int(number)) if number else " ".join(str(error).split())


class ShardReader:
    """Reads arrays from shards, keeping the last few files open."""

    def __init__(self, folder: Path, keep_open: int = 32) -> None:
        self._folder = folder
        self._keep_open = keep_open
        self._open: OrderedDict[str, tuple[Any, dict[str, Any]]] = OrderedDict()

    def read(self, ref: ArrayRef) -> np.ndarray:
        """Return the array ``[T, ...]`` at ``ref`` after verifying its checksum.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        try:
            dataset = self._dataset(ref)
            damaged = bool(ref.kind) and kind_of(dataset) != ref.kind
            array = dataset[ref.start : ref.stop]
        except READ_ERRORS as error:
            raise StoreError(f"{ref.shard} cannot be read ({_one_line(error)}); {_REMEDY}") from error
        if damaged or not array.dtype.isnative or checksum(array) != ref.checksum:
            raise StoreError(
                f"{ref.shard} is damaged at {ref.dataset}, rows {ref.start}-{ref.stop}; {_REMEDY}"
            )
        return array

    def nbytes(self, ref: ArrayRef) -> int:
        """Return the size in bytes of the array at ``ref``, without reading it.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        try:
            dataset = self._dataset(ref)
        except READ_ERRORS as error:
            raise StoreError(f"{ref.shard} cannot be read ({_one_line(error)}); {_REMEDY}") from error
        return (ref.stop - ref.start) * dataset.dtype.itemsize * prod(dataset.shape[1:])

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def _dataset(self, ref: ArrayRef) -> Any:
        if ref.shard not in self._open:
            if len(self._open) >= self._keep_open:
                self._open.popitem(last=False)[1][0].close()
            self._open[ref.shard] = (unlocked(self._folder / ref.shard), {})
        self._open.move_to_end(ref.shard)
        file, datasets = self._open[ref.shard]
        if ref.dataset not in datasets:
            datasets[ref.dataset] = own_dataset(file, ref.dataset)
        dataset = datasets[ref.dataset]
        declared = (ref.stop - ref.start) * dataset.dtype.itemsize * prod(dataset.shape[1:])
        size = (self._folder / ref.shard).stat().st_size
        if declared > size:  # before any memory is allocated
            raise ValueError(f"{ref.dataset} declares {declared} bytes for a clip, but the file has {size}")
        return dataset


def unlocked(path: Path, mode: str = "r") -> Any:
    """Open an HDF5 file without locking it; a shard has one writer, and is complete once it has its name.

    NFS without a lock daemon refuses locks (h5py#1082, #1101, #1722).
    """
    return h5py.File(path, mode, locking=False)


def own_dataset(file: Any, name: str) -> Any:
    """Return a dataset of plain values that is stored in ``file`` itself.

    Raises:
        KeyError: ``file`` has no such dataset.
        ValueError: the dataset is a link, a scalar, chunked or compressed, stored in other files, or not of
            plain values.
    """
    group = file
    for part in name.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is a link; a shard must contain its arrays")
        group = group[part]
    if not isinstance(group, h5py.Dataset) or group.dtype.hasobject:
        raise ValueError(f"{name} is not an array of plain values")
    if group.is_virtual or group.external:
        raise ValueError(f"{name} has its values in other files; a shard must contain its arrays")
    if not group.ndim or group.chunks:
        raise ValueError(f"{name} is a scalar or chunked; a shard's arrays are contiguous")
    return group


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


READ_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises on a damaged or malicious file."""

_REMEDY = (
    "`avemo store verify --repair` removes its clips from the store, so that the next run extracts them."
)
