"""Dropout with a mask that depends on a key and on positions, not on earlier draws.

A member then drops the same values whether it is trained alone or stacked with others, and however far its
batch is padded. :class:`torch.nn.Dropout` draws from one sequence, so that neither holds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROW = 1 << 16  # a clip's vectors have numbers of their own up to here
GOLDEN = 0x9E3779B1 - (1 << 32)


class Dropout(nn.Module):
    """Zeros a share of the values in training and scales up the others, like :class:`torch.nn.Dropout`.

    A value is dropped if a hash of the key, its row and its column is below the share.

    Args:
        share: 0 to below 1.

    Attributes:
        key: int32; see :func:`rekey`.
    """

    share: Tensor
    key: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.active = share > 0
        # buffers, so that members of different shares can be stacked; not in the state
        self.register_buffer("share", torch.tensor(float(share)), persistent=False)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """``[..., D]`` to the same; ``rows`` ``[...]`` int32 number its rows, as :func:`places` if None."""
        if not (self.training and self.active):
            return x
        if rows is None:
            rows = places(x)
        columns = torch.arange(x.shape[-1], dtype=torch.int32, device=x.device) * GOLDEN
        drawn = mix(mix(rows ^ self.key).unsqueeze(-1) + columns)
        dropped = drawn < (self.share * 2.0**32 - 2.0**31).to(torch.int64)
        return torch.where(dropped, 0, x / (1 - self.share))


def optional(share: float) -> Dropout | None:
    """A dropout where there is a share to drop; dropouts are numbered, so one of none would move the others'
    draws.
    """
    return Dropout(share) if share > 0 else None


def places(x: Tensor) -> Tensor:
    """Numbers of the rows of ``[N, D]`` or ``[N, T, D]``: ``[N]`` or ``[N, T]`` int32."""
    clips = torch.arange(x.shape[0], dtype=torch.int32, device=x.device) * ROW
    if x.ndim == 2:
        return clips
    return clips.unsqueeze(1) + torch.arange(x.shape[1], dtype=torch.int32, device=x.device)


def mix(x: Tensor) -> Tensor:
    """A hash of int32, as good as random: "lowbias32", of C. Wellons' search for such functions."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * (0x846CA68B - (1 << 32))
    return x ^ ((x >> 16) & 0xFFFF)


def dropouts(module: nn.Module) -> dict[str, Dropout]:
    """All dropouts in ``module``, by their names."""
    return {name: child for name, child in module.named_modules() if isinstance(child, Dropout)}


def keys(seed: int, step: int, count: int) -> Tensor:
    """Keys ``[count]`` of the dropouts of one model, for one step of a training."""
    start = torch.tensor([seed, step], dtype=torch.int64).to(torch.int32)
    base = mix(mix(start[:1] + GOLDEN) + start[1:])
    return mix(base + torch.arange(count, dtype=torch.int32) * GOLDEN)


def rekey(module: nn.Module, seed: int, step: int) -> None:
    """Give every dropout in ``module`` its key for one step of the training of ``seed``."""
    found = dropouts(module).values()
    for dropout, key in zip(found, keys(seed, step, len(found)), strict=True):
        dropout.key.copy_(key)
