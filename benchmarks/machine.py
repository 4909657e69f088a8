"""Describes the machine that a figure is measured on."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib


def describe() -> str:
    """Return one line: date, processor, cores, versions, and the load from other work."""
    import torch

    capability = (
        "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
    )
    parts = (
        datetime.date.today().isoformat(),
        f"{_processor()}, {joblib.cpu_count()} cores, {capability}",
        f"Python {platform.python_version()}, torch {torch.__version__}",
        f"load {load()}",
    )
    return "; ".join(parts)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the processes that start inside the ``with`` block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def load() -> str:
    """Return the mean number of running processes in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
