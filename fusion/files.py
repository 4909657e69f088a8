"""Writes files atomically: a file is complete or absent."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..cache import durable
from .errors import FusionError

_FORMULA = re.compile(r"(?!(?:[+-]?[\d.,]*(?:[eE][+-]?\d+)? ?%?)\Z)'*[=+\-@\t\r\n＝＋－＠]")
"""Start of a formula, including any ``'`` before it. Numbers and a lone sign do not match."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is synced and replaces ``path`` if the block succeeds.

    Missing parent folders are created.

    Raises:
        FusionError: the file cannot be written; an existing file at ``path`` is left unchanged.
    """
    try:
        durable.make_folder(path.parent)
        with durable.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise FusionError(f"cannot write {path}: {error}. Free some space or name another folder.") from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8; see :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON; see :func:`replacing`."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write ``header`` and ``rows``, numbers in full and None as an empty cell; see :func:`replacing`.

    Writes every CSV table of avemo. Cells are escaped so that no spreadsheet runs them; see :func:`as_cell`.
    """
    lines = ([as_cell(value) for value in row] for row in (header, *rows))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def as_cell(value: object) -> object:
    """Escape a value for CSV: prefix a ``'`` to text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def of_cell(text: str) -> str:
    """Undo :func:`as_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def shortened(text: str, most: int = 300) -> str:
    """Return ``text``, cut to its two ends if it is longer than ``most``."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def as_file_name(text: str) -> str:
    """Replace characters that are unsafe in file names by ``_``."""
    return re.sub(r"[^\w.-]", "_", text)
