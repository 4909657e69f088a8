"""File checksums, by which clips and weights are recognised."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from .stopwatch import step


class Hash(Protocol):
    """A running checksum with the interface of ``hashlib``."""

    def update(self, data: bytes, /) -> None: ...


def feed(path: str | Path, *hashes: Hash) -> None:
    """Feed the bytes of a file to each of ``hashes``, a block at a time."""
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            step()
            for one in hashes:
                one.update(block)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    feed(path, digest)
    return digest.hexdigest()
