"""Common parts of packed pictures, recordings and segments: labels, parts and groups."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash

from .errors import PretrainError
from .pictures import Skipped


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedSamples:
    """N labelled pictures, recordings or clips that could be read.

    Attributes:
        classes: C names.
        labels: ``[N, C]`` float32, the share of each class.
        parts: ``[N]`` of ``train``, ``val``, ``test`` or empty.
        groups: ``[N]`` int; samples with the same number stay on one side of a split.
        skipped: samples that could not be read.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    parts: np.ndarray
    groups: np.ndarray
    skipped: tuple[Skipped, ...]

    @property
    def targets(self) -> np.ndarray:
        """The class with the largest share, ``[N]`` int."""
        return self.labels.argmax(1)

    @cached_property
    def digest(self) -> str:
        """A fingerprint of contents and labels, in hexadecimal."""
        content = xxhash.xxh3_128()
        for part in self._content():
            content.update(part)
        return content.hexdigest()

    def _content(self) -> Iterable[bytes | memoryview]:
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedSpeech(PackedSamples):
    """N labelled recordings or clips of speech; ``subjects`` are ``[N]`` speaker names, or empty."""

    subjects: np.ndarray

    def _told(self) -> Iterable[bytes | memoryview]:
        """Return labels, parts and subjects as bytes."""
        return self.labels.data, json.dumps([self.parts.tolist(), self.subjects.tolist()]).encode()


def grouped(prints: Sequence[bytes], names: Sequence[str]) -> np.ndarray:
    """Return a group number for each sample; samples of one name or of the same content share it."""
    numbers: dict[str | bytes, int] = {}
    parent: list[int] = []

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def of(key: str | bytes) -> int:
        if key not in numbers:
            numbers[key] = len(parent)
            parent.append(len(parent))
        return root(numbers[key])

    found = []
    for content, name in zip(prints, names, strict=True):
        number = of(content)
        if name:
            parent[of(name)] = number
        found.append(number)
    return np.array([root(number) for number in found])


def nothing_usable(name: str, what: str, skipped: Sequence[Skipped], remedy: str = "") -> PretrainError:
    """Return the error for a data set without usable samples."""
    first = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
    return PretrainError(f"{name}: none of {what}{first}{remedy}")
