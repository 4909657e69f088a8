"""Arrays that grow: in memory while they are small, in a file when a clip is long."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEMORY_BYTES = 32 << 20


@dataclass(frozen=True)
class OnDisk:
    """A finished array in a raw file, small enough to send between processes."""

    path: Path
    dtype: str
    shape: tuple[int, ...]

    def open(self) -> np.ndarray:
        """The array as a memory map."""
        return np.memmap(self.path, np.dtype(self.dtype), "r", shape=self.shape)


class Spool:
    """Blocks ``[t, ...]`` appended to one array ``[T, ...]``, of which at most 32 MB stay in memory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{secrets.token_hex(8)}.raw"
        self._blocks: list[np.ndarray] = []
        self._nbytes = 0
        self._rows_on_disk = 0

    def append(self, block: np.ndarray) -> None:
        self._blocks.append(block)
        self._nbytes += block.nbytes
        if self._nbytes > MEMORY_BYTES:
            with self._path.open("ab") as file:
                for part in self._blocks:
                    np.ascontiguousarray(part).tofile(file)
            self._rows_on_disk += sum(map(len, self._blocks))
            self._blocks, self._nbytes = [block[:0]], 0

    def finish(self) -> np.ndarray | OnDisk:
        """The whole array, or where it lies. At least one block must have been appended."""
        rest = np.concatenate(self._blocks)
        if not self._rows_on_disk:
            return rest
        with self._path.open("ab") as file:
            rest.tofile(file)
        return OnDisk(self._path, rest.dtype.str, (self._rows_on_disk + len(rest), *rest.shape[1:]))


def gathered(blocks: Iterable[np.ndarray], folder: Path) -> np.ndarray | OnDisk:
    """All of the blocks in one array, or where it lies. There must be one at least."""
    grown = Spool(folder)
    for block in blocks:
        grown.append(block)
    return grown.finish()
