"""Reads untrusted JSON: files, and the metadata of safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST_JSON = 256 << 20
"""Maximum bytes of a JSON file; avemo's own are thousands of times smaller."""


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, is too large or nested too deep, or repeats a key.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def packed(about: Mapping[str, str]) -> dict[str, str]:
    """Pack strings by name into the metadata of a safetensors file.

    They become one entry, because safetensors writes several in random order, and the same seed must give the
    same bytes.
    """
    return {"about": json.dumps(dict(about))}


def unpacked(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the strings packed by :func:`packed`, or those of an older file with one entry per string.

    Raises:
        ValueError: the metadata is invalid.
    """
    metadata = metadata or {}
    about = json.loads(metadata["about"]) if "about" in metadata else metadata
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise ValueError("its metadata is not an object of strings")
    return about


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} appears twice")
    return values
