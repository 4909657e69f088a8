"""Files that a command writes: none takes the place of another without a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from .framework import InputError, group

overwrite_option = group("Output", click.option("--overwrite", is_flag=True, help="Replace existing files."))


def refuse_existing(paths: Iterable[Path], overwrite: bool, unless: Path | None = None) -> None:
    """See, before any work, that nothing would be overwritten.

    Args:
        paths: the files to write.
        overwrite: whether the user lets them be replaced.
        unless: something that the command itself left beside them; if it is there, they are its own, and are
            made anew when it goes on.

    Raises:
        InputError: a file is there already, or a folder is.
    """
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder, and a file is to be written there; name a file in it")
        if path.exists() and not overwrite and not (unless and unless.exists()):
            raise InputError(f"{path} is there already; write elsewhere, or replace it by --overwrite")
