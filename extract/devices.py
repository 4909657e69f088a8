"""Resolves the device that networks run on, and whether it computes in bf16.

torch is imported only if nothing else can tell. A machine without a GPU does not need it, so keys are known
at once.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache.digits import whole_number
from .errors import ExtractError

if TYPE_CHECKING:
    import torch

# Device files of the drivers of NVIDIA (also on Jetson and WSL) and AMD.
_GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")


known_bf16: dict[str, bool] = {}
"""Name → whether the device multiplies in bf16, for devices that another process has found.

A process that runs no networks relies on this, because querying a GPU takes torch, seconds and memory.
"""


def torch_device(device: str) -> str:
    """Return the device's name, with ``auto`` resolved.

    Raises:
        ExtractError: the device does not exist on this machine, or several are named.
    """
    if "," in device:
        raise ExtractError(f"--device {device}: several devices are for avemo-extract; name one")
    if device == "cpu" or device in known_bf16:
        return device
    return best_device() if device == "auto" else _require_device(device)


def torch_devices(device: str) -> tuple[str, ...]:
    """Return the names of all devices: of one as by :func:`torch_device`, or of several as in ``cuda:0,1``.

    Raises:
        ExtractError: a device does not exist on this machine or is named twice, or one of several is not a
            CUDA GPU.
    """
    if "," not in device:
        return (torch_device(device),)
    kind, _, listed = device.partition(":")
    numbers = [*map(whole_number, listed.split(","))]
    if kind != "cuda" or None in numbers:
        raise ExtractError(
            f"--device {device}: several devices are written as cuda:0,1; there is only one cpu or mps"
        )
    if len({*numbers}) < len(numbers):
        raise ExtractError(f"--device {device}: names a device twice; name each once")
    return tuple(torch_device(f"cuda:{number}") for number in numbers)


def best_device() -> str:
    """Return ``cuda`` or ``mps`` if available, else ``cpu``."""
    if "torch" not in sys.modules and _surely_no_gpu():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def cpu_has_bf16() -> bool:
    """Whether torch finds bf16 instructions in the processor."""
    known = None if "torch" in sys.modules else _bf16_by_flags()
    if known is not None:
        return known
    import torch

    # torch has no public function for this; a version that lacks one of these counts as no.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def _surely_no_gpu() -> bool:
    """Whether there is certainly no GPU driver. Only Linux can tell."""
    return sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in _GPU_FILES)


@cache
def _bf16_by_flags() -> bool | None:
    """Answer :func:`cpu_has_bf16` by the x86 flags in Linux's ``/proc/cpuinfo``; None if that is impossible.

    The flags are the ones that torch's probes test, in versions that have the probes.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        release = tuple(int(part) for part in version("torch").split(".")[:2])
    except (OSError, ValueError, ImportError):
        return None
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    if flags is None or release < (2, 7):
        return None
    return "avx512_bf16" in flags or "amx_tile" in flags


@cache
def _require_device(device: str) -> str:
    import torch

    try:
        if torch.device(device).type == "cuda" and torch.cuda.is_available():
            _require_index(torch.device(device))  # a tensor there would cost this process about 300 MB
        else:
            torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise ExtractError(
            f"there is no device {device!r} here ({str(error).splitlines()[0]}); use --device auto or cpu"
        ) from error
    return device


def _require_index(device: torch.device) -> None:
    import torch

    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise RuntimeError(f"there are {count}, counted from 0")
