"""Files that a command writes; an existing file is replaced only if the user allows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from .framework import InputError, group

overwrite_option = group("Output", click.option("--overwrite", is_flag=True, help="Replace existing files."))


def refuse_existing(paths: Iterable[Path], overwrite: bool, unless: Path | None = None) -> None:
    """Check, before any work, that nothing would be overwritten.

    Args:
        paths: files to write.
        overwrite: whether the user allows existing files to be replaced.
        unless: file that this command leaves beside them; if it exists, the others are the command's own and
            may be replaced when it continues.

    Raises:
        InputError: a file exists already, or a path is a folder.
    """
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder, but a file is expected; name a file in it")
        if path.exists() and not overwrite and not (unless and unless.exists()):
            raise InputError(f"{path} already exists; write elsewhere, or replace it with --overwrite")
