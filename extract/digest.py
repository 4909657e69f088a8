"""Checksums of files: how clips and weights are known again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from .stopwatch import step


class Hash(Protocol):
    """A running checksum, as those of ``hashlib`` are."""

    def update(self, data: bytes, /) -> None: ...


def feed(path: str | Path, *hashes: Hash) -> None:
    """Put the bytes of a file into each of ``hashes``, a block at a time."""
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            step()
            for one in hashes:
                one.update(block)


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    feed(path, digest)
    return digest.hexdigest()
