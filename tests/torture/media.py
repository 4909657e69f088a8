"""Media that nobody would send: real clips, changed at random, through ``avemo-extract``.

    python -m tests.torture.media CLIPS [--count 1000] [--seed 0]

Every clip must have an outcome, the run must end, and no process may be left.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from avemo.cache.rows import Row
from avemo.cache.store import FeatureStore

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
HEADER = 4096
EXTENSIONS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".wav")


def _truncated(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return content[: rng.randrange(len(content))]


def _without_beginning(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return content[rng.randrange(1, len(content)) :]


def _flipped_header(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return _flipped(content, rng, range(min(HEADER, len(content))), rng.randrange(1, 20))


def _flipped_payload(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return _flipped(content, rng, range(len(content)), rng.randrange(1, 400))


def _flipped_index(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Bits of the boxes that tell times, sizes and places, where an MP4 has them."""
    boxes = [
        m.start() for m in re.finditer(rb"stts|stsz|stco|stss|mdhd|mvhd|tkhd|avc1|hdlr|elst|mp4a", content)
    ]
    near = [place + offset for place in boxes for offset in range(4, 40) if place + offset < len(content)]
    return _flipped(content, rng, near or range(len(content)), rng.randrange(1, 12))


def _spliced(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def _hole(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(content))
    return (
        content[:start] + bytes(min(rng.randrange(1, 65536), len(content) - start)) + content[start + 65536 :]
    )


def _twice(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start // 2 :]


def _absurd_numbers(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Rates, sizes and durations of the headers become 0, 1, or as large as they can be."""
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(min(HEADER, len(content) - 4))
        changed[place : place + 4] = rng.choice(
            [bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\0\0\x75\x30"]
        )
    return bytes(changed)


def _flipped(content: bytes, rng: random.Random, places: Sequence[int], count: int) -> bytes:
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.choice(places)] ^= 1 << rng.randrange(8)
    return bytes(changed)


CHANGES: dict[str, Change] = {
    "truncated": _truncated,
    "without-beginning": _without_beginning,
    "flipped-header": _flipped_header,
    "flipped-payload": _flipped_payload,
    "flipped-index": _flipped_index,
    "spliced": _spliced,
    "hole": _hole,
    "twice": _twice,
    "absurd-numbers": _absurd_numbers,
}


def mutate(sources: Sequence[Path], folder: Path, count: int, seed: int) -> None:
    """Write ``count`` changed copies of ``sources`` into ``folder``."""
    rng = random.Random(seed)
    contents = [path.read_bytes() for path in sources]
    for number in range(count):
        which = rng.randrange(len(sources))
        name = list(CHANGES)[number % len(CHANGES)]
        content = CHANGES[name](contents[which], rng, contents)
        suffix = sources[which].suffix if rng.random() < 0.9 else rng.choice(EXTENSIONS)
        (folder / f"{number:05d}-{name}{suffix}").write_bytes(content)


@click.command()
@click.argument("clips", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=1000, show_default=True, help="Changed clips.")
@click.option("--seed", default=0, show_default=True)
@click.option("--largest", default=400_000, show_default=True, help="Bytes of the largest clip to change.")
@click.option("--minutes", default=60, show_default=True, help="Longest that the run may take.")
def main(clips: Path, count: int, seed: int, largest: int, minutes: int) -> None:
    """Change the films in CLIPS at random, and extract them."""
    sources = [
        path
        for path in sorted(clips.rglob("*"))
        if path.suffix in EXTENSIONS and path.stat().st_size < largest
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder, store = Path(scratch) / "clips", Path(scratch) / "store"
        folder.mkdir()
        mutate(sources, folder, count, seed)
        command = ["extract", str(folder), "--store", str(store), "--max-frames", "4", "--tta", "none"]
        started = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-c", "from avemo.pipelines.cli.main import main; main()", *command],
            timeout=minutes * 60,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if code.returncode not in (0, 1):
            sys.exit(f"exit code {code.returncode}: {code.stderr[-3000:]}")
        with FeatureStore(store) as opened:
            outcomes = Counter(_outcome(row) for row in opened.rows)
            without = count - len(opened.rows)
    for outcome, clips_of in outcomes.most_common():
        click.echo(f"{clips_of:>6}  {outcome}")
    click.echo(f"{count} clips, {without} without an outcome, seed {seed}, {seconds:.0f} s")
    sys.exit(bool(without))


def _outcome(row: Row) -> str:
    failures = {re.sub(r"[\d.]+", "N", reason)[:90] for reason in row.failures.values()}
    return "; ".join(sorted(failures)) or "ok"


if __name__ == "__main__":
    main()
