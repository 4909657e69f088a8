"""Storage of decoded pictures: an array in memory, or a file that later runs reuse."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import eq
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from filelock import FileLock

from ..cache import durable
from .errors import PretrainError
from .pictures import Picture

FORMAT = 1
"""Raise this number when the same pictures give different pixels than before."""

Shape = tuple[int, int, int]

_SAVE_EVERY = 15.0  # seconds
_PRINT_BYTES = 16


class Rows(ABC):
    """Outcomes of decoding pictures, added in order; a context manager around :meth:`add`.

    Attributes:
        done: number of pictures added, with or without pixels.
        failures: index → reason, for pictures without pixels.
        prints: hash of each row of pixels.
    """

    def __init__(self) -> None:
        self.done = 0
        self.failures: dict[int, str] = {}
        self.prints: list[bytes] = []

    def __enter__(self) -> Rows:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    def add(self, outcome: np.ndarray | str) -> None:
        """Add the next picture: uint8 of the shape of a row, or why there is none."""
        if isinstance(outcome, str):
            self.failures[self.done] = outcome
        else:
            row_print = xxhash.xxh3_128_digest(outcome.data)
            self._keep(outcome, row_print)
            self.prints.append(row_print)
        self.done += 1

    @abstractmethod
    def pixels(self) -> np.ndarray:
        """Return ``[N, *shape]`` uint8 of all pictures with pixels."""

    @abstractmethod
    def _keep(self, row: np.ndarray, row_print: bytes) -> None: ...


class RowsInMemory(Rows):
    """At most ``count`` rows of ``shape`` in one array."""

    def __init__(self, shape: Shape, count: int) -> None:
        super().__init__()
        self._rows = np.empty((count, *shape), np.uint8)

    def __exit__(self, *_: object) -> None:
        """There is nothing to release."""

    def pixels(self) -> np.ndarray:
        return self._rows[: len(self.prints)]

    def _keep(self, row: np.ndarray, row_print: bytes) -> None:
        self._rows[len(self.prints)] = row


class RowsOnDisk(Rows):
    """At most ``count`` rows of ``shape`` in a folder of their own.

    ``pixels.u8`` holds the rows, ``prints`` their hashes, and ``progress.json`` the number of pictures that
    are safely in both. It is replaced every few seconds, after both are synced, so a kill at any moment costs
    those seconds. Another process waits for the lock and then finds the work done. Existing rows are reused
    if each still matches its hash; otherwise all are decoded again.

    Raises:
        PretrainError: the disk lacks the space.
    """

    def __init__(self, folder: Path, shape: Shape, count: int) -> None:
        super().__init__()
        self._folder, self._shape, self._count = folder, shape, count
        self._row_bytes = int(np.prod(shape))
        self._saved = time.monotonic()

    def __enter__(self) -> Rows:
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(FileLock(self._folder / "lock"))
            self._recall()
            self._require_space()
            self._pixels_file = held.enter_context(self._opened("pixels.u8", self._row_bytes))
            self._prints_file = held.enter_context(self._opened("prints", _PRINT_BYTES))
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            self._save()

    def pixels(self) -> np.ndarray:
        return np.memmap(self._folder / "pixels.u8", np.uint8, "r", shape=(len(self.prints), *self._shape))

    def _keep(self, row: np.ndarray, row_print: bytes) -> None:
        self._pixels_file.write(row.data)
        self._prints_file.write(row_print)
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._save()

    def _save(self) -> None:
        for file in (self._pixels_file, self._prints_file):
            file.flush()
            os.fsync(file.fileno())
        progress: dict[str, object] = {"done": self.done, "failures": list(self.failures.items())}
        progress["sum"] = _sum(progress)
        with durable.replacing(self._folder / "progress.json") as unfinished:
            unfinished.write_text(json.dumps(progress), encoding="utf-8")
        self._saved = time.monotonic()

    def _recall(self) -> None:
        """Restore what an earlier run has safely stored, or nothing if any of it is damaged."""
        try:
            progress = json.loads((self._folder / "progress.json").read_text(encoding="utf-8"))
            if progress.pop("sum") != _sum(progress) or progress["done"] > self._count:
                return
            done, failures = progress["done"], dict(progress["failures"])
            prints = list(self._blocks("prints", _PRINT_BYTES, done - len(failures)))
            rows = self._blocks("pixels.u8", self._row_bytes, len(prints))
            if all(map(eq, map(xxhash.xxh3_128_digest, rows), prints)):
                self.done, self.failures, self.prints = done, failures, prints
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return

    def _blocks(self, name: str, size: int, count: int) -> Iterator[bytes]:
        """Yield the first ``count`` blocks of a file, which must exist."""
        with (self._folder / name).open("rb") as file:
            for _ in range(count):
                block = file.read(size)
                if len(block) < size:
                    raise ValueError(f"{name} is cut off")
                yield block

    def _require_space(self) -> None:
        needed = (self._count - self.done) * self._row_bytes
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise PretrainError(
                f"{self._folder} has {free / 2**30:.1f} GB free, but {self._count - self.done} pictures need "
                f"{needed / 2**30:.1f} GB: make room, or name a folder on another disk with --cache"
            )

    def _opened(self, name: str, row_bytes: int) -> BinaryIO:
        """Open a file, truncated to the rows that are safely stored."""
        file = (self._folder / name).open("ab")
        file.truncate(len(self.prints) * row_bytes)
        return file


def _sum(progress: Mapping[str, object]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(progress, sort_keys=True).encode())


def cache_folder(cache: Path, name: str, pictures: Sequence[Picture], settings: Mapping[str, object]) -> Path:
    """Return the folder for these pictures in this form; it depends on files, their dates and settings.

    Args:
        cache: parent folder.
        name: name of the data set, for people.
        pictures: pictures, in order.
        settings: all settings that affect the pixels besides the files.
    """
    content = xxhash.xxh3_128(json.dumps({"format": FORMAT, **settings}, sort_keys=True).encode())
    states: dict[Path, tuple[int, ...] | None] = {}
    for picture in pictures:
        file = picture.file
        if file is not None and file not in states:
            states[file] = _state(file)
        state = states[file] if file is not None else None
        content.update(repr((picture.name, str(file), state, picture.box)).encode())
    slug = re.sub(r"\W+", "-", name).strip("-").lower()
    return cache / f"{slug}-{content.hexdigest()[:16]}"


def _state(file: Path) -> tuple[int, ...] | None:
    """Return size, date and permissions; None if there is no such file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_mode
