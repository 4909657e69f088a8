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
    """One stream of a padded batch.

    Attributes:
        values: ``[N, T, D]``.
        mask: ``[N, T]``, true for vectors, false for padding.
        times: ``[N, T]`` seconds of each vector within its clip.
    """

    values: Tensor
    mask: Tensor
    times: Tensor


Batch = Mapping[str, Padded]
"""Stream name → padded stream.

If the sound is cut into segments, :data:`SEGMENTS` holds values ``[N, S, L]`` int64, indices into the visual
stream (see :class:`.SegmentFeatures`); their times are zeros.
"""


@dataclass(frozen=True, eq=False)
class Standardisation:
    """(x - mean) * scale for each of D dimensions, float32; stored with the model it was fitted for.

    NaN values are ignored when fitting, and become 0, the mean, when standardised.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, sequences: Sequences, clips: np.ndarray) -> Standardisation:
        """Fit zero mean and unit variance over all vectors of ``clips`` (indices), summed in float64.

        A dimension that is constant, up to float32 rounding, is centred but not scaled.
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
    """Builds batches from sequences that are standardised once and kept on the device, one tensor per stream.

    Args:
        streams: sequences of the clips.
        standardisations: stream → standardisation.
        device: device of the batches.
        segments: segments of the visual stream, if heads need them.
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
        """Return a batch of ``clips`` (indices ``[N]``, or ``[M, N]`` for M members), padded with zeros."""
        return {name: stream.padded(clips) for name, stream in self._streams.items()}


class _Flat:
    """Concatenated vectors ``[ΣT + 1, D]`` of N clips, the last one for padding, with lengths and times."""

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
    """Return all standardised vectors, followed by one of zeros."""
    rows = len(sequences.values)
    values = np.zeros((rows + 1, sequences.features), dtype=np.float32)
    np.subtract(sequences.values, standard.mean, out=values[:rows])
    values[:rows] *= standard.scale
    values[np.isnan(values)] = 0
    return values
