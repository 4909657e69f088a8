"""At which seconds of a clip the rows of a stored stream are."""

from __future__ import annotations

import numpy as np

from ...cache.rows import Row
from ...cache.store import FeatureStore

FACES, LOG_MEL = "faces", "logmel"


def times_of(store: FeatureStore, row: Row, stream: str, count: int) -> np.ndarray | None:
    """``[count]`` seconds of a stream's rows, ``[count, 2]`` of segments; None where nothing tells them.

    They are stored with the stream. Stores that were written before that was so, and features that were
    imported before there were faces, have them only for some: there, the window and hop in a stream's key
    tell those of its frames, and those of the faces are those of as many vectors of faces.

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
    """How long a clip's sound is, by the frames of log-Mel, of which every clip with sound has some; else 0.

    The sound begins at 0 s, and ends as far behind its last frame's middle as the first one is from 0 s.

    Raises:
        StoreError: an array is damaged.
    """
    if not row.has(LOG_MEL):
        return 0.0
    array = row.entries[LOG_MEL].arrays[LOG_MEL]
    times = times_of(store, row, LOG_MEL, array.stop - array.start)
    return 0.0 if times is None or not len(times) else float(times[-1] + times[0])
