"""Loads heads from the user's own files."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from ..errors import FusionError

VARIABLE = "AVEMO_HEADS"


def load_plugins() -> None:
    """Import the Python files listed in the environment variable ``AVEMO_HEADS``, separated by commas.

    Child processes inherit environment variables, so workers that train members know the same heads.

    Raises:
        FusionError: a file does not exist or cannot be imported, or its name is already taken by a module.
    """
    for text in filter(None, os.environ.get(VARIABLE, "").split(",")):
        path = Path(text.strip())
        if path.suffix != ".py" or not path.is_file():
            raise FusionError(f"{VARIABLE}={text}: there is no such file; expected Python files with heads")
        known = sys.modules.get(path.stem)
        if known is not None:
            if Path(getattr(known, "__file__", None) or "").resolve() != path.resolve():
                raise FusionError(
                    f"{path}: a module {path.stem!r} is already loaded; give the file another name"
                )
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # members returned from other processes find their class by this name
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[path.stem]
            raise FusionError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
