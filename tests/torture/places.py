"""Real extraction into file systems that fill up, cannot be written, or are shared.

    python -m tests.torture.places [--clips DIR]

Full file systems are simulated by a small one in memory (as root), or by a limit on the size of each file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from .runs import CHEAP, Held, Run, held, make_clips, strangers, written

LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
"""
LATE = """
import time
time.time, time.time_ns = (lambda now: lambda: now() + 18_000)(time.time), (
    lambda now: lambda: now() + 18_000 * 10**9)(time.time_ns)
"""
"""Five hours late, in the process that writes the store."""


class Cannot(Exception):
    """A trial that cannot be made here."""


class Places:
    """The trials; each returns what is wrong, or the empty string.

    Args:
        clips: the clips.
        scratch: an empty folder.
    """

    def __init__(self, clips: Path, scratch: Path) -> None:
        self._clips, self._scratch = clips, scratch
        run = Run(clips, scratch / "undisturbed")
        if run.wait():
            raise RuntimeError(run.output())
        self._expected: Held = held(scratch / "undisturbed")

    def files_too_large(self) -> str:
        """Every file stops growing at 200 kB."""
        store = self._scratch / "limited"
        return self._stops(Run(self._clips, store, more=LIMITED), store) or self._resumes(store)

    def full(self) -> str:
        """A file system of 1 MB, made larger afterwards."""
        with _mounted(self._scratch / "full", "size=1m") as folder:
            wrong = self._stops(Run(self._clips, folder / "store", shard_seconds=0), folder / "store")
            if wrong:
                return wrong
            _mount("-o", "remount,size=100m", str(folder))
            return self._resumes(folder / "store")

    def read_only(self) -> str:
        """A file system that becomes read-only when a part is stored, and writable again."""
        with _mounted(self._scratch / "sealed", "size=100m") as folder:
            store = folder / "store"
            run = Run(self._clips, store, *CHEAP, "--part", "1/2", folder=self._scratch)
            if run.wait():
                return run.output()
            _mount("-o", "remount,ro", str(folder))
            wrong = self._stops(Run(self._clips, store, folder=self._scratch), store)
            if wrong:
                return wrong
            _mount("-o", "remount,rw", str(folder))
            return self._resumes(store, folder=self._scratch)

    def two_at_once(self) -> str:
        """Two runs into one store, with two processes each; the second's clock is five hours late."""
        store = self._scratch / "shared"
        runs = [
            Run(self._clips, store, shard_seconds=0, more=more, log=name)
            for more, name in (("", "one"), (LATE, "other"))
        ]
        codes = [run.wait() for run in runs]
        if codes != [0, 0]:
            return f"exit codes {codes}: {[run.output()[-1000:] for run in runs]}"
        both = sum(count > 1 for count in written(store).values())
        click.echo(f"          {both} of {len(written(store))} outcomes were made by both")
        return self._resumes(store)

    def _stops(self, run: Run, store: Path) -> str:
        """A run must end in one line of text, and leave nothing but what is whole."""
        code, lines = run.wait(), run.output().strip().splitlines()
        if code != 2 or "Traceback" in run.output() or not lines[-1].startswith("Error: "):
            return f"exit code {code}: {run.output()[-1500:]}"
        click.echo(f"          {lines[-1]}")
        if not run.gone(10):
            return f"left alive: {run.alive()}"
        left = strangers(store) if store.exists() else []
        if left:
            return f"left behind: {left}"
        now = held(store) if (store / "store.json").exists() else {}
        wrong = [key for key, value in now.items() if self._expected.get(key) != value]
        return f"differ: {wrong}" if wrong else ""

    def _resumes(self, store: Path, folder: Path | None = None) -> str:
        """The same command must give the store of an undisturbed run."""
        run = Run(self._clips, store, folder=folder)
        if run.wait() != 0:
            return f"resumed, exit code {run.wait()}: {run.output()[-1500:]}"
        now = held(store)
        wrong = [key for key in {*now, *self._expected} if now.get(key) != self._expected.get(key)]
        left = strangers(store) + [path.name for path in run.temporary.iterdir()]
        return f"resumed: differ {wrong}, left behind {left}" if wrong or left else ""


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Cannot(f"this user cannot mount: {done.stderr.strip()}")


@click.command()
@click.option("--clips", type=click.Path(path_type=Path, file_okay=False), help="Use these; else the demo's.")
def main(clips: Path | None) -> None:
    """Extract into places that fill up, cannot be written, or are shared, and check what is left."""
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        places = Places(clips or make_clips(Path(scratch) / "clips"), Path(scratch))
        trials: list[Callable[[], str]] = [
            places.files_too_large,
            places.full,
            places.read_only,
            places.two_at_once,
        ]
        for trial in trials:
            try:
                wrong = trial()
            except Cannot as error:
                click.echo(f"skipped   {trial.__name__}: {error}")
                continue
            click.echo(f"{'BROKEN' if wrong else 'ok':<10}{trial.__doc__} {wrong}")
            failed = failed or bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
