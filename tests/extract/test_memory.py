"""How much memory a run may take: what is free, within the limits of its control groups (cgroups(7))."""

from __future__ import annotations

from pathlib import Path

import pytest

from avemo.extract.memory import usable_memory


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("", {}, 2048 << 10),
        ("0::/job/step\n", {"job/step/memory.max": "max", "job/memory.max": "1048576"}, 1 << 20),
        ("0::/job\n", {"job/memory.max": "999999999999"}, 2048 << 10),
        (
            "5:cpu:/a\n3:memory:/slurm/job\n",
            {"memory/slurm/job/memory.limit_in_bytes": "700000", "memory/memory.limit_in_bytes": "900000"},
            700_000,
        ),
    ],
)
def test_usable_memory(groups: str, limits: dict[str, str], expected: int, tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal:  9999 kB\nMemFree:  5 kB\nMemAvailable:    2048 kB\n")
    write(tmp_path / "proc/self/cgroup", groups)
    for name, limit in limits.items():
        write(tmp_path / "sys/fs/cgroup" / name, limit + "\n")
    assert usable_memory(tmp_path) == expected


def test_nobody_tells(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == 0
