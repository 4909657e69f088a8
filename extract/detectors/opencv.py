"""What the detectors that OpenCV runs share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

import cv2
import numpy as np

from ..digest import sha256_of
from ..errors import ExtractError
from ..memory import SHARE, usable_memory
from ..processes import ProcessDied, Processes
from .base import DETECTORS

SECONDS = 60.0  # that a network may take for a few pictures
TRIED = ((96, 96), (300, 600), (480, 270), (720, 1280))  # their sizes


@contextmanager
def told(files: Sequence[Path]) -> Iterator[None]:
    """OpenCV prints nothing, and its errors with these files are raised as :class:`ExtractError`."""
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    except cv2.error as error:
        raise ExtractError(f"{_refusal(files)}; if it was downloaded, fetch it again") from error
    finally:
        log.setLogLevel(level)


def try_out(name: str, files: Sequence[Path]) -> None:
    """Let a process of its own use a detector's files first: OpenCV crashes on some that are damaged.

    Published files are known, and worker processes get only what was tried.

    Raises:
        ExtractError: they cannot be used, or that process crashed.
    """
    from ..backbones import zoo  # it needs this package, to know of dlib's files

    if parent_process() is None and not zoo.published(zoo.digests(files[0])):
        _try_out(name, tuple(files), tuple(map(sha256_of, files)))


@cache
def _try_out(name: str, files: tuple[Path, ...], sums: tuple[str, ...]) -> None:
    children = Processes(_use, 1, silence=SECONDS, memory=int(SHARE * usable_memory()))
    try:
        children.submit(name, files[0]).result()
    except ProcessDied as error:
        raise ExtractError(f"{_refusal(files)}: it crashes or hangs; fetch the file again") from error
    finally:
        children.close()


def _use(name: str, file: Path) -> None:
    detector, noise = DETECTORS[name](file), np.random.default_rng(0)
    for height, width in TRIED:
        detector(noise.integers(0, 256, (height, width, 3), np.uint8))


def _refusal(files: Sequence[Path]) -> str:
    return f"{' with '.join(map(str, files))} is no face detector that OpenCV {cv2.__version__} can run"
