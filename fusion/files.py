"""Files that are whole or not there."""

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
"""The beginning of a formula, and any ``'`` before it; numbers and a lone sign are none."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place, synced, when the block ends well.

    Folders above are made as needed.

    Raises:
        FusionError: the file cannot be written; what was at ``path`` before is untouched.
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

    All tables of avemo are written here, and no cell of theirs is run by a spreadsheet: see :func:`as_cell`.
    """
    lines = ([as_cell(value) for value in row] for row in (header, *rows))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def as_cell(value: object) -> object:
    """A value as it is written: a text that a spreadsheet would run gets a ``'`` before it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def of_cell(text: str) -> str:
    """The text that :func:`as_cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def shortened(text: str, most: int = 300) -> str:
    """``text``, or its two ends where it is too long to be read."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def as_file_name(text: str) -> str:
    """``text`` with what a file's name had better not have replaced by ``_``."""
    return re.sub(r"[^\w.-]", "_", text)
