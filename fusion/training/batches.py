"""Standardised sequences, and padded batches of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..features.corpus import Sequences
from ..features.segments import SegmentFeatures

SEGMENTS = "segments"


class Padded(NamedTuple):
    """One stream of a batch: ``values`` ``[N, T, D]``; ``mask`` ``[N, T]``, true where a vector is; ``times``
    ``[N, T]`` of each, in seconds of its clip.
    """

    values: Tensor
    mask: Tensor
    times: Tensor


Batch = Mapping[str, Padded]
"""The streams by their names; under :data:`SEGMENTS`, where there are any, as values ``[N, S, L]`` int64,
places in the visual stream, see :class:`.SegmentFeatures`; these have no times (zeros)."""


@dataclass(frozen=True, eq=False)
class Standardisation:
    """(x - mean) * scale for each of D dimensions, float32; kept with the model that it was made for.

    What is not known, NaN, has no part in them, and is 0 once standardised: the mean.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, sequences: Sequences, clips: np.ndarray) -> Standardisation:
        """Zero mean and unit variance over all vectors of ``clips`` (indices); summed in float64.

        A dimension that is constant there, up to float32's rounding, is centred and not scaled.
        """
        chosen = sequences.frames_of(clips)
        blocks = [slice(i, i + 4096) for i in range(0, len(chosen), 4096)]
        parts = [(sequences.values[block], chosen[block]) for block in blocks]
        known = sum((~np.isnan(values[own])).sum(axis=0) for values, own in parts)
        count = np.maximum(1, known)
        mean = sum(np.nansum(values[own], axis=0, dtype=np.float64) for values, own in parts) / count
        variance = sum(np.nansum((values[own] - mean) ** 2, axis=0) for values, own in parts) / count
        std = np.sqrt(variance)
        varies = std > 1e-6 * np.abs(mean) + 1e-12
        scale = np.divide(1.0, std, out=np.ones_like(std), where=varies)
        return cls(mean.astype(np.float32), scale.astype(np.float32))


class Batcher:
    """Sequences standardised once and kept on the device as one flat tensor a stream.

    Args:
        streams: the clips' sequences.
        standardisations: one a stream.
        device: where batches are wanted.
        segments: of the visual stream, where heads are to see them.
    """

    def __init__(
        self,
        streams: Mapping[str, Sequences],
        standardisations: Mapping[str, Standardisation],
        device: str = "cpu",
        segments: SegmentFeatures | None = None,
    ) -> None:
        self._streams = {}
        for name, standard in standardisations.items():
            stream = streams[name]
            rows = _standardised(stream, standard)
            self._streams[name] = _Flat(rows, stream.lengths, stream.times, device)
        if segments is not None:
            rows = np.pad(segments.frames, ((0, 1), (0, 0)))
            self._streams[SEGMENTS] = _Flat(rows, segments.counts, np.zeros(len(segments.frames)), device)

    def __call__(self, clips: Tensor) -> dict[str, Padded]:
        """The batch of ``clips`` ``[N]`` (indices), or of M members ``[M, N]``, padded with zeros to its
        longest."""
        return {name: stream.padded(clips) for name, stream in self._streams.items()}


class _Flat:
    """Vectors ``[ΣT + 1, D]`` of N clips end to end, the last for padding; with their lengths and times."""

    def __init__(self, values: np.ndarray, lengths: np.ndarray, times: np.ndarray, device: str) -> None:
        self._values = torch.from_numpy(values).to(device)
        self._times = torch.from_numpy(np.append(times, 0).astype(np.float32)).to(device)
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)
        self._lengths = torch.from_numpy(lengths).to(device)

    def padded(self, clips: Tensor) -> Padded:
        lengths = self._lengths[clips].unsqueeze(-1)
        steps = torch.arange(max(1, int(lengths.max())), device=lengths.device)
        mask = steps < lengths
        rows = torch.where(mask, self._starts[clips].unsqueeze(-1) + steps, len(self._values) - 1)
        values = self._values.index_select(0, rows.flatten()).view(*mask.shape, -1)
        return Padded(values, mask, self._times[rows])


def _standardised(sequences: Sequences, standard: Standardisation) -> np.ndarray:
    """All vectors, and one of zeros."""
    rows = len(sequences.values)
    values = np.zeros((rows + 1, sequences.features), dtype=np.float32)
    np.subtract(sequences.values, standard.mean, out=values[:rows])
    values[:rows] *= standard.scale
    values[np.isnan(values)] = 0
    return values
