"""Cuts both streams of a clip into the same time intervals (zhou2021 §III-E)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..training.batches import Batch, Padded


def cut(batch: Batch, count: int, seconds: float | None = None) -> dict[str, Tensor]:
    """Which of H trunks each vector is in, by its time: ``[N, T, H]`` a stream, all false beyond the mask.

    Trunks begin with the clip's first vector, of either stream. They are H equal parts of the time up to
    its last one, so that every clip has all of them; or, with ``seconds``, of that length each, as the
    paper's zero-padding has it: a short clip lacks the last ones, and what is left of a long one is in the
    last.

    Args:
        batch: the streams to be cut at the same times.
        count: H.
        seconds: length of a trunk.
    """
    start, end = span(batch.values())
    length = (end - start) / count if seconds is None else torch.full_like(start, seconds)
    length = length + (length == 0)  # one moment only: all of it is in the first trunk
    numbers = torch.arange(count, device=start.device)
    trunks = {}
    for name, stream in batch.items():
        place = ((stream.times - start) / length).floor().clamp(0, count - 1)
        trunks[name] = (place.unsqueeze(-1) == numbers) & stream.mask.unsqueeze(-1)
    return trunks


def span(streams: Collection[Padded]) -> tuple[Tensor, Tensor]:
    """Seconds ``[N, 1]`` of the first and of the last vector of any stream; zeros where there is none."""
    mask = torch.cat([stream.mask for stream in streams], dim=1)
    times = torch.cat([stream.times for stream in streams], dim=1)
    some = mask.any(dim=1, keepdim=True)
    infinity = torch.full((), torch.inf, dtype=times.dtype, device=times.device)
    first = torch.where(mask, times, infinity).amin(dim=1, keepdim=True)
    last = torch.where(mask, times, -infinity).amax(dim=1, keepdim=True)
    return torch.where(some, first, 0), torch.where(some, last, 0)
