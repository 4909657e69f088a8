"""JSON that others may have written, alone in a file or as the metadata of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST_JSON = 256 << 20
"""Bytes of a JSON file; avemo's own are thousands of times smaller."""


def read_json(path: Path) -> Any:
    """What a file of JSON in UTF-8 says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, is too large or nested too deep, or says something twice.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB")
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def packed(about: Mapping[str, str]) -> dict[str, str]:
    """Texts by name, as the metadata of a safetensors file.

    They become one entry: several are written in random order, and the same seed is to give the same bytes.
    """
    return {"about": json.dumps(dict(about))}


def unpacked(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """What :func:`packed` made; or texts that stand alone, as they did before there was that.

    Raises:
        ValueError: they are no texts.
    """
    metadata = metadata or {}
    about = json.loads(metadata["about"]) if "about" in metadata else metadata
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise ValueError("what it says of itself makes no sense")
    return about


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return found
