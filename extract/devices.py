"""Which device networks run on."""

from __future__ import annotations

from functools import cache

import torch

from .errors import ExtractError


def torch_device(device: str) -> str:
    """The device's name, ``auto`` resolved.

    Raises:
        ExtractError: there is no such device here.
    """
    return best_device() if device == "auto" else _present(device)


def best_device() -> str:
    """``cuda`` or ``mps`` where there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@cache
def _present(device: str) -> str:
    try:
        if torch.device(device).type == "cuda" and torch.cuda.is_available():
            _counted(torch.device(device))  # a tensor there would cost this process some 300 MB of its memory
        else:
            torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise ExtractError(
            f"there is no device {device!r} here ({str(error).splitlines()[0]}); use --device auto or cpu"
        ) from error
    return device


def _counted(device: torch.device) -> None:
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise RuntimeError(f"there are {count}, counted from 0")
