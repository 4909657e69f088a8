"""Measures the memory available to the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARE = 0.9  # of the free memory; the rest is left to the main process and the system


def usable_memory(root: Path = Path("/")) -> int:
    """Return the free memory in bytes, within the limits of containers and jobs; 0 if unknown."""
    with suppress(OSError, ValueError, IndexError):
        available = (root / "proc/meminfo").read_text().partition("MemAvailable:")[2]
        return min(int(available.split()[0]) << 10, *_limits(root), 1 << 62)
    return 0


def _limits(root: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control groups (versions 1 and 2)."""
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                name = "memory.limit_in_bytes" if controllers else "memory.max"
                group = groups / controllers / path.lstrip("/")
                for folder in (group, *group.parents):
                    with suppress(OSError, ValueError):
                        yield int((folder / name).read_text())
