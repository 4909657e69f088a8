"""Dropout with a mask that depends on a key and on positions, not on earlier draws.

A member therefore drops the same values whether it is trained alone or in a stack, and however far its batch
is padded. :class:`torch.nn.Dropout` draws from one random sequence and guarantees neither.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROW = 1 << 16  # row numbers per clip; unique for up to this many vectors
GOLDEN = 0x9E3779B1 - (1 << 32)


class Dropout(nn.Module):
    """Zeros a share of the values in training and scales up the others, like :class:`torch.nn.Dropout`.

    A value is dropped if a hash of the key, its row and its column is below the share.

    Args:
        share: dropout rate, from 0 to below 1.

    Attributes:
        key: int32; see :func:`rekey`.
    """

    share: Tensor
    key: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.active = share > 0
        # Buffers, so that members with different shares can be stacked; not saved.
        self.register_buffer("share", torch.tensor(float(share)), persistent=False)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Apply dropout to ``[..., D]``; ``rows`` ``[...]`` are int32 row numbers, default :func:`places`."""
        if not (self.training and self.active):
            return x
        if rows is None:
            rows = places(x)
        columns = torch.arange(x.shape[-1], dtype=torch.int32, device=x.device) * GOLDEN
        drawn = mix(mix(rows ^ self.key).unsqueeze(-1) + columns)
        dropped = drawn < (self.share * 2.0**32 - 2.0**31).to(torch.int64)
        return torch.where(dropped, 0, x / (1 - self.share))


def optional(share: float) -> Dropout | None:
    """Return a dropout, or None if ``share`` is 0.

    Dropouts get their keys by number, so an inactive one would change the draws of the others.
    """
    return Dropout(share) if share > 0 else None


def places(x: Tensor) -> Tensor:
    """Number the rows of ``[N, D]`` or ``[N, T, D]``: ``[N]`` or ``[N, T]`` int32."""
    clips = torch.arange(x.shape[0], dtype=torch.int32, device=x.device) * ROW
    if x.ndim == 2:
        return clips
    return clips.unsqueeze(1) + torch.arange(x.shape[1], dtype=torch.int32, device=x.device)


def mix(x: Tensor) -> Tensor:
    """Hash int32 values by "lowbias32", from C. Wellons' search for integer hash functions."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * (0x846CA68B - (1 << 32))
    return x ^ ((x >> 16) & 0xFFFF)


def dropouts(module: nn.Module) -> dict[str, Dropout]:
    """Return all dropouts in ``module`` by name."""
    return {name: child for name, child in module.named_modules() if isinstance(child, Dropout)}


def keys(seed: int, step: int, count: int) -> Tensor:
    """Return keys ``[count]`` for the dropouts of one model at one training step."""
    start = torch.tensor([seed, step], dtype=torch.int64).to(torch.int32)
    base = mix(mix(start[:1] + GOLDEN) + start[1:])
    return mix(base + torch.arange(count, dtype=torch.int32) * GOLDEN)


def rekey(module: nn.Module, seed: int, step: int) -> None:
    """Set the key of every dropout in ``module`` for one training step of the member with ``seed``."""
    found = dropouts(module).values()
    for dropout, key in zip(found, keys(seed, step, len(found)), strict=True):
        dropout.key.copy_(key)
