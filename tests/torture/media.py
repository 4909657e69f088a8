"""Fuzzes media: real clips, changed at random, through ``avemo-extract``.

    python -m tests.torture.media CLIPS [--count 1000] [--seed 0]

The clips are changed in their own format, and in eight other containers with other codecs. Every clip must
have an outcome, the run must end, and no process or file may be left behind.
"""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from avemo.cache.rows import Row
from avemo.cache.store import FeatureStore

from .runs import Run, strangers

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
HEADER = 4096
CONTAINERS = {
    ".avi": ("mpeg4", "libmp3lame"),
    ".mkv": ("ffv1", "flac"),
    ".webm": ("libvpx", "libopus"),
    ".mov": ("mjpeg", "pcm_s16le"),
    ".flv": ("flv", "aac"),
    ".ts": ("mpeg2video", "mp2"),
    ".wmv": ("wmv2", "ac3"),
    ".wav": ("", "adpcm_ima_wav"),
}
"""Suffix → codecs of pictures and sound."""
BITEXACT = {"fflags": "+bitexact"}  # the same bytes each time
EXTENSIONS = (".mp4", *CONTAINERS)
SIZES = ((1, 1), (7680, 4320), (30_000, 30_000), (65_535, 65_535), (0, 0), (65_535, 1))
RATES = (Fraction(0), Fraction(1, 1 << 30), Fraction(1 << 30), Fraction(1, 1000))


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


def _absurd_size(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The header declares another size: that of an MP4, of an AVI, or of each JPEG."""
    width, height = rng.choice(SIZES)
    rules: tuple[tuple[bytes, int, bytes], ...] = (
        (rb"avc1", 28, struct.pack(">HH", width, height)),
        (rb"\xff\xc0\x00\x11\x08", 5, struct.pack(">HH", height, width)),
        (rb"strf....\x28\x00\x00\x00", 12, struct.pack("<ii", width, height)),
    )
    changed = bytearray(content)
    for pattern, offset, size in rules:
        for found in re.finditer(pattern, content, re.DOTALL):
            place = found.start() + offset
            changed[place : place + len(size)] = size
    return bytes(changed[: len(content)]) if changed != content else _absurd_numbers(content, rng, others)


def _one_pixel(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Not a change but another film: of one pixel, or one that is as narrow as can be."""
    sizes = ((1, 1), (2, 2), (1, 4000), (4000, 1), (16, 16))
    return _encoded([np.zeros((*rng.choice(sizes), 3), np.uint8)] * 5, "mov", "png")


def _very_large(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Another film, whose frames are as large as 8K."""
    return _encoded([np.zeros((4320, 7680, 3), np.uint8)] * rng.randrange(1, 3), "mov", "mjpeg")


def _without_key_frames(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return _remuxed(content, lambda packet, number: packet.stream.type != "video" or not packet.is_keyframe)


def _no_duration(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """All packets are of one moment, or of the first: there is nothing else."""

    def changed(packet: Any, number: int) -> bool:
        packet.pts = packet.dts = packet.duration = 0
        return rng.random() < 0.99 or number < 2

    return _remuxed(content, changed)


def _absurd_times(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Times jump back and forth, by up to centuries, or the rate is one that no camera has."""
    rate = rng.choice(RATES)

    def changed(packet: Any, number: int) -> bool:
        if rate:
            packet.time_base = rate
        elif number % 7 == 3 and packet.pts is not None:
            packet.pts += rng.choice((-(1 << 40), -1000, 1 << 31, 1 << 50))
            packet.dts = packet.pts
        return True

    return _remuxed(content, changed)


def _packets_lost(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    share = rng.choice((0.02, 0.2, 0.9))
    return _remuxed(content, lambda packet, number: rng.random() > share)


def _remuxed(content: bytes, kept: Callable[[Any, int], bool]) -> bytes:
    """The same streams in a container of the kind that bears most, each packet as ``kept`` leaves it."""
    made = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(made, "w", "matroska", BITEXACT) as target:
        streams = {
            stream.index: target.add_stream_from_template(stream)
            for stream in source.streams
            if stream.type in ("video", "audio")
        }
        for number, packet in enumerate(source.demux(*(source.streams[index] for index in streams))):
            if packet.size and kept(packet, number):
                packet.stream = streams[packet.stream_index]
                with suppress(av.FFmpegError, ValueError, OverflowError):  # the muxer bears not all
                    target.mux_one(packet)
    return made.getvalue()


def _encoded(images: Sequence[np.ndarray], container: str, codec: str) -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", container, BITEXACT) as target:
        _mux(target, codec, images, "")
    return made.getvalue()


def _mux(target: Any, codec: str, images: Sequence[np.ndarray], sound: str) -> None:
    """Pictures by one codec and a second of a tone by another, where each has a name."""
    streams = []
    if codec:
        pictures = target.add_stream(codec, rate=25)
        pictures.height, pictures.width = images[0].shape[:2]
        pictures.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "bgr0", "png": "rgb24"}.get(codec, "yuv420p")
        frames = [av.VideoFrame.from_ndarray(image, format="rgb24") for image in images]
        streams.append((pictures, frames))
    if sound:
        rate = 48_000 if sound == "libopus" else 44_100
        tone = (8000 * np.sin(np.arange(rate) * 0.05)).astype(np.int16)
        whole = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        whole.sample_rate, whole.pts = rate, 0
        streams.append((target.add_stream(sound, rate=rate, layout="mono"), [whole]))
    for stream, frames in streams:
        for frame in (*frames, None):
            target.mux(stream.encode(frame))


def transcoded(path: Path, folder: Path) -> list[Path]:
    """A second of a film, small, in each of :data:`CONTAINERS`."""
    with av.open(str(path)) as source:
        images = [
            frame.to_ndarray(format="rgb24", width=160, height=120)
            for _, frame in zip(range(25), source.decode(video=0), strict=False)
        ]
    made = []
    for suffix, (pictures, sound) in CONTAINERS.items():
        made.append(folder / f"{path.stem}{suffix}")
        with av.open(str(made[-1]), "w", options=BITEXACT) as target:
            _mux(target, pictures, images, sound)
    return made


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
    "absurd-size": _absurd_size,
    "absurd-times": _absurd_times,
    "no-duration": _no_duration,
    "packets-lost": _packets_lost,
    "without-key-frames": _without_key_frames,
    "one-pixel": _one_pixel,
    "very-large": _very_large,
}
"""The changes, all as often but the last two, which are other films."""


def mutate(sources: Sequence[Path], folder: Path, count: int, seed: int) -> None:
    """Write ``count`` changed copies of ``sources`` into ``folder``."""
    rng = random.Random(seed)
    contents = [path.read_bytes() for path in sources]
    weights = [0.1 if change in (_one_pixel, _very_large) else 1.0 for change in CHANGES.values()]
    for number, name in enumerate(rng.choices(list(CHANGES), weights, k=count)):
        which = rng.randrange(len(sources))
        try:
            content = CHANGES[name](contents[which], rng, contents)
        except (av.FFmpegError, ValueError):  # these codecs bear no such change
            name, content = "truncated", _truncated(contents[which], rng, contents)
        suffix = sources[which].suffix if rng.random() < 0.9 else rng.choice(EXTENSIONS)
        (folder / f"{number:05d}-{name}{suffix}").write_bytes(content)


@click.command()
@click.argument("clips", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=1000, show_default=True, help="Changed clips.")
@click.option("--seed", default=0, show_default=True)
@click.option("--largest", default=1_000_000, show_default=True, help="Bytes of the largest clip to change.")
@click.option("--minutes", default=60, show_default=True, help="Longest that the run may take.")
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Work in this folder, and keep it."
)
def main(clips: Path, count: int, seed: int, largest: int, minutes: int, keep: Path | None) -> None:
    """Change the films in CLIPS at random, and extract them."""
    sources = [
        path
        for path in sorted(clips.rglob("*"))
        if path.suffix in EXTENSIONS and path.stat().st_size < largest
    ]
    with tempfile.TemporaryDirectory() as scratch:
        place = keep or Path(scratch)
        for name in ("clips", "transcoded"):
            (place / name).mkdir(parents=True)
        sources += [made for path in sources for made in transcoded(path, place / "transcoded")]
        mutate(sources, place / "clips", count, seed)
        started = time.perf_counter()
        run = Run(place / "clips", place / "store", "--max-frames", "4", "--tta", "none", "--workers", "2")
        try:
            code = run.wait(60 * minutes)
        finally:
            run.stop()
        seconds = time.perf_counter() - started
        problems = _problems(run, code, place)
        with FeatureStore(place / "store") as opened:
            rows = opened.rows
    if count - len(rows):
        problems.append(f"{count - len(rows)} clips without an outcome")
    examples = {_outcome(row): row.clip.id for row in rows}
    for outcome, clips_of in Counter(map(_outcome, rows)).most_common():
        click.echo(f"{clips_of:>6}  {outcome} ({examples[outcome]})")
        if re.match(r"\w*(error|exception|warning): ", outcome, re.IGNORECASE):
            problems.append(f"an error of Python's instead of a reason: {outcome}")
    stages = Counter(stage for row in rows for stage in _stages(row))
    click.echo(
        f"{count} clips of {len(sources)} films, seed {seed}, {seconds:.0f} s; "
        f"usable {sum(not row.failures for row in rows)}, failed by stage: "
        + ", ".join(f"{stage} {number}" for stage, number in stages.most_common())
    )
    crashed = [
        str(row.clip) for row in rows if any("took its process" in why for why in row.failures.values())
    ]
    hung = [str(row.clip) for row in rows if any("no progress" in why for why in row.failures.values())]
    click.echo(f"crashed {len(crashed)} {crashed}, hung {len(hung)} {hung}")
    for problem in problems:
        click.echo(f"BROKEN: {problem}")
    sys.exit(bool(problems))


def _problems(run: Run, code: int, place: Path) -> list[str]:
    """What is wrong when a run has ended."""
    problems = []
    if code not in (0, 1):
        problems.append(f"exit code {code}: {run.output()[-3000:]}")
    if "Traceback" in run.output():
        problems.append(f"a traceback: {run.output().partition('Traceback')[2][:3000]}")
    if not run.gone(10):
        problems.append(f"processes left: {run.alive()}")
    if left := [*strangers(place / "store"), *map(str, run.temporary.iterdir())]:
        problems.append(f"files left: {left}")
    return problems


def _stages(row: Row) -> set[str]:
    return {str(row.entries[stream].info.get("stage", "unknown")) for stream in row.failures}


def _outcome(row: Row) -> str:
    failures = {re.sub(r"[\d.]+", "N", reason)[:90] for reason in row.failures.values()}
    return "; ".join(sorted(failures)) or "ok"


if __name__ == "__main__":
    main()
