"""Files that are whole or not there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FusionError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends well.

    Folders above are made as needed.

    Raises:
        FusionError: the file cannot be written; what was at ``path`` before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise FusionError(f"cannot write {path}: {error}. Free some space or name another folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def as_file_name(text: str) -> str:
    """``text`` with what a file's name had better not have replaced by ``_``."""
    return re.sub(r"[^\w.-]", "_", text)
