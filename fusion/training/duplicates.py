"""Finds duplicate recordings, since a copy among the training clips leaks into the test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...cache.rows import Row
from ...cache.store import FeatureStore
from ..errors import FusionError
from .folds import Fold

LOG_MEL = "logmel"
STEPS = 24  # time steps of a fingerprint
ENDS = 0.02  # share of a sound's energy to trim at each end, with any silence
RANGE = 5.0  # nepers below the loudest value; lower values are noise of the room or the encoder
ALIKE = 0.97  # cosine of fingerprints
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Fingerprint:
    """Clips (indices) that are copies of one recording, and how they were recognised."""

    clips: tuple[int, ...]
    seen: str


def recordings(store: FeatureStore, rows: Sequence[Row]) -> list[Fingerprint]:
    """Find recordings with more than one copy in ``rows``.

    Copies are identical files, clips with bit-identical stored sound, and clips with a similar
    :func:`fingerprint`, for example after re-encoding.

    Raises:
        StoreError: a stored sound is damaged.
    """
    files = [row.source.sha256 if row.source else None for row in rows]
    sounds = [_checksum(row) for row in rows]
    prints = [_fingerprint(store, row) for row in rows]
    pairs = [*_equal(files), *_equal(sounds), *alike(prints)]
    return [
        Fingerprint(clips, _seen([files[i] for i in clips], [sounds[i] for i in clips]))
        for clips in _components(len(rows), pairs)
    ]


def fingerprint(log_mel: np.ndarray) -> np.ndarray | None:
    """Compute an audio fingerprint that is robust to re-encoding, volume and silence at the ends.

    Log-Mel values, limited to 5 nepers (22 dB) below their maximum, are averaged over 24 equal steps between
    the times of 2 % and 98 % of the cumulative energy. The mean of each filter is subtracted, and the result
    normalised to length 1.

    Measured on 56 re-encoded clips of speech (Java-SED), the cosine with the original was 0.97 or more for 56
    in MP3 at 32 kbit/s, 56 in Opus at 16, 52 in AAC at 48 and 55 with noise 20 dB below. Over 690,896 pairs
    of different recordings, including people who repeat a sentence in the same mood, the maximum was 0.954.

    Args:
        log_mel: ``[T, F]`` in nepers.

    Returns:
        ``[24 F]`` float32; None if nothing changes over time (silence, or a steady tone).
    """
    values = log_mel.astype(np.float64)
    energy = np.exp(values - values.max()).sum(axis=1).cumsum()
    first, last = np.interp([ENDS, 1 - ENDS], np.append(0, energy / energy[-1]), np.arange(len(values) + 1))
    values = np.maximum(values, values.max() - RANGE)
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    edges = np.linspace(first, last, STEPS + 1)
    below = edges.astype(int).clip(max=len(values) - 1)
    at_edges = sums[below] + (edges - below)[:, None] * values[below]
    steps = np.diff(at_edges, axis=0) * (STEPS / (last - first))
    steps -= steps.mean(axis=0)
    length = np.linalg.norm(steps)
    return (steps / length).ravel().astype(np.float32) if length > 1e-3 * np.sqrt(steps.size) else None


def alike(prints: Sequence[np.ndarray | None]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices of fingerprints with a cosine of 0.97 or more."""
    places = [i for i, found in enumerate(prints) if found is not None]
    if not places:
        return
    every = np.stack([found for found in prints if found is not None])
    for start in range(0, len(every), ROWS_AT_ONCE):
        close = every[start : start + ROWS_AT_ONCE] @ every[start:].T >= ALIKE
        for first, second in zip(*np.nonzero(np.triu(close, 1)), strict=True):
            yield places[start + int(first)], places[start + int(second)]


def content_of(row: Row) -> str:
    """Return an identifier of a clip's file: the start of its SHA-256, or the clip's name if unknown."""
    return row.source.sha256[:16] if row.source else str(row.clip)


def check_no_copies(folds: Iterable[Fold], found: Sequence[Fingerprint], clips: Sequence[str]) -> None:
    """Check that no recording is in both training and test.

    Args:
        folds: folds, as indices into the clips.
        found: result of :func:`recordings`.
        clips: names of the clips.

    Raises:
        FusionError: a fold has copies of one recording on both sides.
    """
    for fold in folds:
        across = copies_across(fold, found)
        if across:
            first, second, recording = across[0]
            more = f"; so are copies of {len(across) - 1} more recordings" if len(across) > 1 else ""
            raise FusionError(
                f"fold {fold.name} trains on {clips[first]} and tests on {clips[second]}, which are "
                f"{recording.seen}{more}; leave out the copies, or give --allow-duplicates, which marks the "
                "results"
            )


def copies_across(fold: Fold, found: Sequence[Fingerprint]) -> list[tuple[int, int, Fingerprint]]:
    """Return a training clip and a test clip of each recording that is on both sides of a fold."""
    training, test = set(fold.train.tolist()), set(fold.test.tolist())
    pairs = (
        (
            next((i for i in recording.clips if i in training), None),
            next((i for i in recording.clips if i in test), None),
            recording,
        )
        for recording in found
    )
    return [(a, b, recording) for a, b, recording in pairs if a is not None and b is not None]


def _checksum(row: Row) -> Hashable | None:
    if not row.has(LOG_MEL):
        return None
    entry = row.entries[LOG_MEL]
    ref = entry.arrays[LOG_MEL]
    return entry.key.digest, ref.stop - ref.start, ref.checksum


def _fingerprint(store: FeatureStore, row: Row) -> np.ndarray | None:
    if not row.has(LOG_MEL):
        return None
    values = store.read(row, LOG_MEL, [LOG_MEL])[LOG_MEL]
    return fingerprint(values[:, 0]) if len(values) else None


def _equal(keys: Sequence[Hashable | None]) -> Iterator[tuple[int, int]]:
    """Yield (first, other) for each index whose key has occurred before."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            places[key].append(place)
    for first, *others in places.values():
        yield from ((first, other) for other in others)


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return the connected components of ``pairs``: groups of indices joined directly or indirectly."""
    if not pairs:
        return []
    first, second = np.array(pairs).T
    _, labels = connected_components(coo_array((np.ones(len(pairs)), (first, second)), (count, count)))
    together: dict[int, list[int]] = defaultdict(list)
    for place, label in enumerate(labels.tolist()):
        together[label].append(place)
    return [tuple(places) for places in together.values() if len(places) > 1]


def _seen(files: Sequence[Hashable | None], sounds: Sequence[Hashable | None]) -> str:
    for keys, how in ((files, "the same file"), (sounds, "of the same sound")):
        if keys[0] is not None and len({*keys}) == 1:
            return how
    return "of the same sound by their fingerprints"
