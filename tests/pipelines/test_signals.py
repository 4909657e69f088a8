"""Ctrl-C, SIGTERM and SIGHUP: an exit code that says so, and nothing left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="sees in /proc which processes live"
)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "terminal closed"])
def test_an_interrupted_run_leaves_nothing_behind(
    how: str, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    from tests.torture.runs import session, strangers

    clips, store = tmp_path / "clips", tmp_path / "store"
    clips.mkdir()
    (tmp_path / "tmp").mkdir()
    for number in range(3):
        make_clip(clips / f"{number}.mp4", 500)
    ours, theirs = pty.openpty()
    script = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" * (how == "terminal closed")
    script += "from avemo.pipelines.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "extract", str(clips), "--store", str(store), "--workers", "2"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        os.close(theirs)
        deadline = time.monotonic() + 60
        while len(session(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        if how == "terminal closed":
            os.close(ours)
        else:
            process.send_signal(signal.Signals[how])
        code = process.wait(60)
    assert code == 128 + signal.Signals["SIGHUP" if how == "terminal closed" else how]
    time.sleep(0.5)
    assert session(process.pid) == {}
    assert [*strangers(store), *(tmp_path / "tmp").iterdir()] == []
