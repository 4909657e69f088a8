"""Decodes all pictures of a set once, into an array in memory or a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .chips import FaceCrop, WholePicture
from .errors import PretrainError
from .labelled import PackedSamples, grouped, nothing_usable
from .pictures import Picture, PictureSet, Skipped
from .rows import Rows, RowsInMemory, RowsOnDisk, cache_folder

MOST_BYTES = 2 << 30
_AHEAD = 64  # pictures to read ahead


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedPictures(PackedSamples):
    """N decoded pictures; pictures of one subject, or with identical pixels, are a group.

    ``pixels`` is ``[N, S, S, K]`` uint8 with K = 1 (grey) or 3 (RGB); read-only if it is a file.
    """

    pixels: np.ndarray

    def _content(self) -> Iterable[bytes | memoryview]:
        return self.pixels.data, self.labels.data


def pack(
    pictures: PictureSet,
    size: int,
    grey: bool,
    on_picture: Callable[[], object],
    faces: FaceCrop | None = None,
    cache: Path | None = None,
    most_bytes: int = MOST_BYTES,
) -> PackedPictures:
    """Read every picture at ``size`` × ``size`` pixels, leaving out those that cannot be read.

    Args:
        pictures: pictures to read, in this order.
        size: side of the result in pixels.
        grey: use one channel instead of three (RGB).
        on_picture: called after each picture.
        faces: how to crop faces; :class:`WholePicture` by default.
        cache: folder for sets of more than ``most_bytes``, and for sets whose faces are detected. Later
            runs reuse the pictures there, and resume after a kill.
        most_bytes: maximum number of bytes to keep in memory.

    Raises:
        PretrainError: no picture can be read; or they do not fit into memory, and there is no cache, or
            it lacks the space.
        OSError: the cache cannot be written.
    """
    faces = faces or WholePicture()
    count = len(pictures.pictures)
    shape = (size, size, 1 if grey else 3)
    needed = count * int(np.prod(shape))
    if needed > most_bytes and cache is None:
        raise PretrainError(
            f"{pictures.name}: {count} pictures of {size} × {size} pixels need {needed / 2**30:.1f} GB, more "
            f"than the {most_bytes / 2**30:.1f} GB that may stay in memory: name a folder with --cache"
        )
    rows: Rows
    if cache is not None and (needed > most_bytes or faces.costly):
        settings = {"size": size, "grey": grey, **faces.settings()}
        rows = RowsOnDisk(cache_folder(cache, pictures.name, pictures.pictures, settings), shape, count)
    else:
        rows = RowsInMemory(shape, count)
    with rows:
        for _ in range(rows.done):
            on_picture()
        for outcome in _outcomes(pictures.pictures[rows.done :], size, grey, faces):
            rows.add(outcome)
            on_picture()
    failures = [Skipped(pictures.pictures[place].name, reason) for place, reason in rows.failures.items()]
    skipped = (*pictures.skipped, *failures)
    if len(failures) == count:
        raise nothing_usable(pictures.name, f"{count} pictures can be read", skipped)
    used = [picture for place, picture in enumerate(pictures.pictures) if place not in rows.failures]
    return PackedPictures(
        classes=pictures.classes,
        pixels=rows.pixels(),
        labels=np.array([picture.label for picture in used], np.float32),
        parts=np.array([picture.part for picture in used]),
        groups=grouped(rows.prints, [picture.group for picture in used]),
        skipped=skipped,
    )


def _outcomes(
    pictures: Sequence[Picture], size: int, grey: bool, faces: FaceCrop
) -> Iterator[np.ndarray | str]:
    """Yield the outcome of each picture in order, read by threads that stay only slightly ahead."""
    waiting: deque[Future[np.ndarray | str]] = deque()
    with ThreadPoolExecutor() as pool:
        for picture in pictures:
            waiting.append(pool.submit(_read, picture, size, grey, faces))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(picture: Picture, size: int, grey: bool, faces: FaceCrop) -> np.ndarray | str:
    """Return ``[size, size, K]`` uint8, or why there is none."""
    try:
        values = faces(picture.read(), picture.box, size)
    except PretrainError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # an untrusted picture may break a decoder in any way: skip only this one
        return f"{type(error).__name__}: {error}"
    if values.ndim == 3 and grey:
        values = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
    elif values.ndim == 2 and not grey:
        values = cv2.cvtColor(values, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(values).reshape(size, size, -1)
