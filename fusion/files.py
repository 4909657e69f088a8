"""Files that are whole or not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cache import durable
from .errors import FusionError


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


def as_file_name(text: str) -> str:
    """``text`` with what a file's name had better not have replaced by ``_``."""
    return re.sub(r"[^\w.-]", "_", text)
