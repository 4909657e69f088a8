"""Helpers shared by the detectors that OpenCV runs."""

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

SECONDS = 60.0  # time limit for a network on a few images
TRIAL_SIZES = ((96, 96), (300, 600), (480, 270), (720, 1280))  # heights and widths of these images


@contextmanager
def opencv_errors(files: Sequence[Path]) -> Iterator[None]:
    """Silence OpenCV's log, and raise its errors with these files as :class:`ExtractError`."""
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    except cv2.error as error:
        raise ExtractError(f"{_refusal(files)}; if it was downloaded, fetch it again") from error
    finally:
        log.setLogLevel(level)


def try_out(name: str, files: Sequence[Path]) -> None:
    """Try a detector's files in a separate process, because OpenCV crashes on some damaged ones.

    Published files are not tried, nor are files in worker processes, which the main process has tried.

    Raises:
        ExtractError: the files cannot be used, or the process crashed or hung.
    """
    from ..backbones import zoo  # which imports this package for dlib's files

    if parent_process() is None and not zoo.published(zoo.digests(files[0])):
        _try_out(name, tuple(files), tuple(map(sha256_of, files)))


@cache
def _try_out(name: str, files: tuple[Path, ...], sums: tuple[str, ...]) -> None:
    children = Processes(_run_on_noise, 1, silence=SECONDS, memory=int(SHARE * usable_memory()))
    try:
        children.submit(name, files[0]).result()
    except ProcessDied as error:
        raise ExtractError(f"{_refusal(files)}: it crashes or hangs; fetch the file again") from error
    finally:
        children.close()


def _run_on_noise(name: str, file: Path) -> None:
    detector, noise = DETECTORS[name](file), np.random.default_rng(0)
    for height, width in TRIAL_SIZES:
        detector(noise.integers(0, 256, (height, width, 3), np.uint8))


def _refusal(files: Sequence[Path]) -> str:
    return f"{' with '.join(map(str, files))} is not a face detector that OpenCV {cv2.__version__} can run"
