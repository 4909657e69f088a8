"""Times of the rows of a stored stream, in seconds of its clip."""

from __future__ import annotations

import numpy as np

from ...cache.rows import Row
from ...cache.store import FeatureStore

FACES, LOG_MEL = "faces", "logmel"


def times_of(store: FeatureStore, row: Row, stream: str, count: int) -> np.ndarray | None:
    """Return the ``[count]`` seconds of a stream's rows, ``[count, 2]`` for segments; None if unknown.

    Times are stored with the stream. Early stores, and features imported before faces were extracted, lack
    some of them. Then they are computed from the window and hop in the stream's key, or taken from the faces
    if there are equally many.

    Raises:
        StoreError: an array is damaged.
    """
    entry = row.entries[stream]
    if "times" not in entry.arrays:
        settings = entry.key.settings
        if {"window", "hop", "sample_rate"} <= settings.keys():
            return (settings["window"] / 2 + settings["hop"] * np.arange(count)) / settings["sample_rate"]
        if not row.has(FACES) or "times" not in row.entries[FACES].arrays:
            return None
        stream = FACES
    times = store.read(row, stream, ["times"])["times"]
    return times if len(times) == count else None


def sound_seconds(store: FeatureStore, row: Row) -> float:
    """Return the length of a clip's sound in seconds, from its log-Mel frames; 0 without sound.

    The sound begins at 0 s and ends as long after the middle of the last frame as the middle of the first
    frame is after 0 s.

    Raises:
        StoreError: an array is damaged.
    """
    if not row.has(LOG_MEL):
        return 0.0
    array = row.entries[LOG_MEL].arrays[LOG_MEL]
    times = times_of(store, row, LOG_MEL, array.stop - array.start)
    return 0.0 if times is None or not len(times) else float(times[-1] + times[0])
