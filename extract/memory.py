"""How much memory there is for the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARE = 0.9  # of what is free; the rest is for the main process, and for the system


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that a run may take now: what is free, within a container's or job's limit; 0 if nobody tells."""
    with suppress(OSError, ValueError, IndexError):
        told = (root / "proc/meminfo").read_text().partition("MemAvailable:")[2]
        return min(int(told.split()[0]) << 10, *_limits(root), 1 << 62)
    return 0


def _limits(root: Path) -> Iterator[int]:
    """Of the control groups that this process is in, of both versions of Linux's."""
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
