"""Runs all long tests in turn: `make torture`.

    python -m tests.torture [--films DIR] [--reports DIR] [--again] [PART ...]

Each writes its report to a file. A test is skipped if it already has a report for the same code without a
broken promise, so an interrupted run continues. A broken promise does not stop the other tests. The exit code
is 1 if any promise was broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import xxhash

ROOT = Path(__file__).parents[2]
CODE = ("cache", "extract", "fusion", "pipelines", "pretrain", "tests/torture")
PROPERTIES = "tests/cache/test_store_properties.py"
HELD, BROKEN = "all promises held", "BROKEN"


def parts(films: Path) -> Mapping[str, tuple[Sequence[str], str]]:
    """Name → arguments of Python, and about how long it takes on two cores."""
    return {
        "crash": (("-m", "tests.torture.crash"), "12 minutes"),
        "properties": (("-m", "pytest", "-q", "-p", "no:xdist", PROPERTIES), "6 minutes"),
        "places": (("-m", "tests.torture.places"), "3 minutes"),
        "kill": (("-m", "tests.torture.kill"), "20 minutes"),
        "files": (("-W", "ignore", "-m", "tests.torture.files"), "6 minutes"),
        "media": (("-m", "tests.torture.media", str(films)), "5 minutes"),
        "film": (("-m", "tests.torture.lasting", "film"), "12 minutes"),
        "frames": (("-m", "tests.torture.lasting", "frames"), "5 minutes"),
        "soak": (("-m", "tests.torture.lasting", "soak"), "60 minutes"),
    }


@click.command()
@click.argument("names", metavar="[PART]...", nargs=-1)
@click.option(
    "--films",
    default=ROOT.parent / "shared" / "data" / "media",
    type=click.Path(path_type=Path),
    help="A folder of films to damage.",
)
@click.option(
    "--reports", default=ROOT / "build" / "torture", type=click.Path(path_type=Path), show_default=True
)
@click.option("--again", is_flag=True, help="Run also what has a report of this code.")
def main(names: Sequence[str], films: Path, reports: Path, again: bool) -> None:
    """Run the long tests, or those named."""
    known = parts(films)
    if unknown := sorted({*names} - {*known}):
        raise click.UsageError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    reports.mkdir(parents=True, exist_ok=True)
    code = _code()
    outcomes = {}
    for name in names or known:
        arguments, minutes = known[name]
        report = reports / f"{name}.txt"
        if name == "media" and not films.is_dir():
            outcomes[name] = f"skipped: there is no folder {films}; name one of films by --films"
        elif not again and _held(report, code):
            outcomes[name] = f"{HELD}, as {report} says"
        else:
            click.echo(f"== {name}: about {minutes}")
            outcomes[name] = f"{_run(arguments, report, code)}; {report}"
    click.echo("\n".join(f"{name:<12}{outcome}" for name, outcome in outcomes.items()))
    sys.exit(any(outcome.startswith(BROKEN) for outcome in outcomes.values()))


def _run(arguments: Sequence[str], report: Path, code: str) -> str:
    """Run a part; what it prints goes to the terminal and to its report, which ends with the outcome."""
    started = time.monotonic()
    environment = {**os.environ, "EXAMPLES": "1000"}
    with report.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            click.echo(line, nl=False)
            written.write(line)
            written.flush()
        status = process.wait()
        outcome = BROKEN if status else HELD
        seconds = time.monotonic() - started
        written.write(f"code {code}: {outcome} (exit code {status}), {seconds:.0f} s\n")
    return outcome


def _held(report: Path, code: str) -> bool:
    try:
        *_, last = report.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return last.startswith(f"code {code}: {HELD}")


def _code() -> str:
    """A checksum of all that is tested, and of the tests."""
    found = xxhash.xxh3_64()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
