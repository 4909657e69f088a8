"""Cuts both streams of a clip into the same time intervals (zhou2021 §III-E)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..training.batches import Batch, Padded


def cut(batch: Batch, count: int, seconds: float | None = None) -> dict[str, Tensor]:
    """Assign each vector to one of H trunks by its time.

    Trunks begin at the clip's first vector of either stream. By default they are H equal parts of the time up
    to its last vector, so every clip has all H. With ``seconds``, each has this length, as in the paper's
    zero-padding: a short clip lacks the last trunks, and the rest of a long clip goes to the last trunk.

    Args:
        batch: streams to cut at the same times.
        count: H.
        seconds: length of a trunk; None for equal parts.

    Returns:
        Stream → ``[N, T, H]``, all false for padding.
    """
    start, end = span(batch.values())
    length = (end - start) / count if seconds is None else torch.full_like(start, seconds)
    length = length + (length == 0)  # a single moment goes to the first trunk
    numbers = torch.arange(count, device=start.device)
    trunks = {}
    for name, stream in batch.items():
        place = ((stream.times - start) / length).floor().clamp(0, count - 1)
        trunks[name] = (place.unsqueeze(-1) == numbers) & stream.mask.unsqueeze(-1)
    return trunks


def span(streams: Collection[Padded]) -> tuple[Tensor, Tensor]:
    """Return seconds ``[N, 1]`` of the first and the last vector of any stream; zeros if there are none."""
    mask = torch.cat([stream.mask for stream in streams], dim=1)
    times = torch.cat([stream.times for stream in streams], dim=1)
    some = mask.any(dim=1, keepdim=True)
    infinity = torch.full((), torch.inf, dtype=times.dtype, device=times.device)
    first = torch.where(mask, times, infinity).amin(dim=1, keepdim=True)
    last = torch.where(mask, times, -infinity).amax(dim=1, keepdim=True)
    return torch.where(some, first, 0), torch.where(some, last, 0)
