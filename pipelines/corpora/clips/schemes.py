"""The known data sets of clips, read from ``schemes.toml``, which explains the fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .pattern import PathPattern
from .table import LabelTable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Count:
    """Published counts of a data set, or of a part of it."""

    part: str
    clips: int
    classes: Mapping[str, int] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    each: int = 0
    within: str = ""


@dataclass(frozen=True)
class Scheme:
    """A data set and how to find its clips."""

    name: str
    example: str
    title: str = ""
    pattern: str = ""
    reader: str = "pattern"
    labels: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    table: LabelTable | None = None
    corrected: str = ""
    scripted: bool = False
    published: tuple[Count, ...] = ()

    @cached_property
    def paths(self) -> PathPattern:
        """The compiled pattern.

        Raises:
            DatasetError: the pattern is invalid.
        """
        choices = {"label": self.labels, "split": self.splits, "part": self.parts}
        return PathPattern(self.pattern, choices)


def _scheme(name: str, entry: dict[str, Any]) -> Scheme:
    table = LabelTable(**entry.pop("table")) if "table" in entry else None
    published = [
        Count(**{**count, "subjects": tuple(_subjects(count.get("subjects", ())))})
        for count in entry.pop("published", ())
    ]
    return Scheme(name, table=table, published=tuple(published), **entry)


def _subjects(names: Sequence[str]) -> Sequence[str]:
    """Expand ranges: ``01-24`` stands for all numbers from 01 to 24."""
    found = []
    for name in names:
        first, dash, last = name.partition("-")
        numbers = range(int(first), int(last) + 1) if dash else ()
        found += [f"{number:0{len(first)}}" for number in numbers] or [name]
    return found


_FILE = Path(__file__).with_suffix(".toml")
SCHEMES = {name: _scheme(name, entry) for name, entry in tomllib.loads(_FILE.read_text("utf-8")).items()}
"""Name → data set, in the order in which ``auto`` tries them."""
