"""``avemo preview``: which face was taken, as a contact sheet a clip and a page over all of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..cli import InputError, command, json_result, keep_result
from ..datasets.options import PATTERN_HELP, dataset_options, find_chosen
from ..progress import progress_bar
from ..stage_one import into_store, say_found
from ..table import aligned

if TYPE_CHECKING:
    from ...cache.rows import Row
    from ...cache.store import FeatureStore
    from ..datasets.find import Found
    from .facts import Subject, Track

FRAMES_LOOKED_AT, FRAMES_SHOWN, SHEETS = 32, 8, 1000
LAYOUT = 1  # of a sheet; those of another are drawn anew
WORST = 5
SHEET = re.compile(r".*-[0-9a-f]{12}\.jpg(\.\d+\.tmp)?")  # also one that was being written
OF_FOLDERS = ("dataset", "pattern", "manifest", "labels", "other_labels")
OF_CLIPS = (*OF_FOLDERS, "detector", "max_frames", "store")

EXAMPLES = """
\b
Examples:
  avemo preview afew/                     looks for faces in 32 frames a clip
  avemo preview features                  a store: shows what it holds
  avemo preview one.mp4 two.mp4 --max-frames 0
  avemo preview clips/ --store features --max-frames 0
  avemo preview features --sheets 0 --json > faces.json

The page is DIR/index.html. It lists 10,000 clips in less than 3 MB; sheets, of about 100 kB each, are
files beside it. Sheets that are there already, of the same track and settings, are kept.

\b
Exit code: 0 done; 1 done, but some clips failed or are damaged, each named
with its reason; 2 wrong arguments or input; 130 interrupted: the same command
goes on.
"""


@command("preview", epilog=EXAMPLES + PATTERN_HELP)
@click.argument("paths", metavar="CLIPS|STORE", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="preview",
    show_default=True,
    metavar="DIR",
    help="The folder of the page and its sheets.",
)
@click.option(
    "--frames",
    type=click.IntRange(2, 16),
    default=FRAMES_SHOWN,
    show_default=True,
    metavar="N",
    help="Frames on a sheet, spread evenly over those that were looked at.",
)
@click.option(
    "--sheets",
    type=click.IntRange(min=0),
    default=SHEETS,
    show_default=True,
    metavar="N",
    help="Draw sheets of the N clips with the least faces; the page lists the others without. 0: of all.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of CLIPS: where their faces and sound are kept, for avemo-extract too.  [default: store in --out]",
)
@dataset_options
@click.option(
    "--detector",
    default="dlib",
    show_default=True,
    metavar="NAME[@FILE]",
    help="Of CLIPS: dlib, yunet@FILE.onnx, or ssd@FILE.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(min=0),
    default=FRAMES_LOOKED_AT,
    show_default=True,
    metavar="N",
    help="Of CLIPS: look for faces in at most N frames of each, spread evenly. 0: in all, as avemo-extract "
    "does by default.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Clips worked on side by side.  [default: one a core]",
)
@json_result
def preview(
    paths: tuple[Path, ...],
    out: Path,
    frames: int,
    sheets: int,
    store: Path | None,
    detector: str,
    max_frames: int,
    workers: int,
    **source: Any,
) -> int:
    """Show which face was taken in each clip, so that wrong ones are found in a minute.

    Draws a contact sheet a clip (frames over time with the face's box and points, what a network gets to
    see of them, where the face was found and how surely, the sound and where speech is), and a page over all
    of them, the clips in which the face was found least first.

    CLIPS are a folder of any data set that avemo-extract takes, or video files: their main faces are looked
    for and followed. Of a STORE the tracks that it holds are shown, and nothing is looked for again.
    """
    if (out / "index.html").exists() and not (out / "sheets").is_dir():
        raise InputError(f"{out} holds an index.html that is no preview; name another folder by --out")
    is_store = (paths[0] / "store.json").exists()
    if is_store:
        if len(paths) > 1:
            raise click.UsageError(f"{paths[0]} is a store, which is shown alone; leave out {paths[1]}")
        _refuse(OF_CLIPS, f"{paths[0]} is a store, whose tracks are shown as they are")
    if is_store:
        problems, path, wanted = 0, paths[0], None
    else:
        found = _found(paths, source)
        path = store or out / "store"
        _extract(paths, found, path, detector, max_frames or None, workers)
        problems, wanted = len(found.problems), {clip.key for clip in found.clips}
    from ...cache.store import FeatureStore

    with FeatureStore(path) as opened:
        rows = [row for row in opened.rows if wanted is None or row.clip.key in wanted]
        shown = _Preview(opened, rows, out, frames, _named(paths))
        shown.draw(sheets, workers)
    _say(shown)
    keep_result(**shown.table())
    return 1 if problems or shown.failed else 0


def _named(paths: Sequence[Path]) -> str:
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else str(paths[0])


def _refuse(options: Collection[str], why: str) -> None:
    """See that none of these is given.

    Raises:
        click.UsageError: one is.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in options:
            raise click.UsageError(f"{why}; leave out {parameter.opts[0]}")


def _found(paths: Sequence[Path], source: dict[str, Any]) -> Found:
    if len(paths) == 1:
        return find_chosen(paths[0], **source)
    for path in paths:
        if not path.exists():
            raise InputError(f"'{path}' does not exist; name video files")
        if path.is_dir():
            raise InputError(f"'{path}' is a folder, one of several paths; name it alone, or files alone")
    _refuse(OF_FOLDERS, "several files are shown as they are, unlabelled")
    from ..datasets.find import find_files

    return find_files(paths)


def _extract(
    paths: Sequence[Path],
    found: Found,
    path: Path,
    detector: str,
    max_frames: int | None,
    workers: int,
) -> None:
    """Stage 1 without networks: face tracks and sound of these clips into the store at ``path``.

    Raises:
        InputError: the store holds tracks of other settings, which would be replaced.
    """
    from ...cache.store import FeatureStore
    from ...extract.plan import FACES, Plan

    say_found(paths[0], found)
    plan = Plan(detector, backbones=(), max_frames=max_frames, pictures=not found.markers)
    if plan.pictures and (path / "store.json").exists():
        key = plan.keys()[FACES]
        with FeatureStore(path) as store:
            stored = [row.entries[FACES].key for row in map(store.row, found.clips) if row and row.has(FACES)]
        differing = next((other.differences(key) for other in stored if other != key), None)
        if differing:
            raise InputError(
                f"{path} holds face tracks of other settings ({'; '.join(differing)}: stored / asked for), "
                f"which would be replaced; show them by avemo preview {path}, or name another --store"
            )
    into_store(found, plan, path, workers)


class _Preview:
    """Sheets and the page of a store's clips.

    Args:
        store: its tracks are drawn.
        rows: of the clips that are shown.
        out: the folder of the page.
        frames: on a sheet.
        source: what the user named.
    """

    def __init__(self, store: FeatureStore, rows: Sequence[Row], out: Path, frames: int, source: str) -> None:
        from .facts import subject_of

        self.out = out
        self.source = source
        self._store = store
        self._frames = frames
        self._rows = {row.clip.key: row for row in rows}
        bar = progress_bar(rows, desc="tracks", unit="clip", leave=False)
        self.subjects = sorted((subject_of(store, row) for row in bar), key=lambda subject: subject.rank)
        self._names = {subject.clip.key: self._name(subject) for subject in self.subjects}

    @property
    def failed(self) -> list[Subject]:
        """Clips that failed or are damaged."""
        return [s for s in self.subjects if s.problem or any(n.startswith("damaged") for n in s.notes)]

    @property
    def sheets(self) -> dict[tuple[str, str], str]:
        """Those that are there: clip → path as seen from the page."""
        folder = self.out / "sheets"
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return {key: f"sheets/{name}" for key, name in self._names.items() if name in there}

    def draw(self, count: int, workers: int) -> None:
        """Draw what lacks of the sheets of the ``count`` worst clips (0: all), and write the page."""
        showable = [subject for subject in self.subjects if subject.track or not subject.problem]
        wanted = showable[: count or None]
        there = self.sheets
        todo = [subject for subject in wanted if subject.clip.key not in there]
        (self.out / "sheets").mkdir(parents=True, exist_ok=True)
        self._write()
        try:
            with progress_bar(
                total=len(wanted), initial=len(wanted) - len(todo), unit="sheet", disable=not todo
            ) as bar:
                for _ in self._drawn(todo, workers):
                    bar.update()
            self._clear()
        finally:
            self._write()

    def table(self) -> dict[str, Any]:
        """All clips, as JSON values."""
        sheets = self.sheets
        return {
            "source": self.source,
            "page": str(self.out / "index.html"),
            "clips": [
                {
                    **asdict(subject.clip),
                    "detection_rate": subject.track and subject.track.rate,
                    **(asdict(subject.track) if subject.track else {}),
                    "problem": subject.problem or None,
                    "notes": list(subject.notes),
                    "sheet": sheets.get(subject.clip.key),
                }
                for subject in self.subjects
            ],
        }

    def _drawn(self, todo: Sequence[Subject], workers: int) -> Iterator[None]:
        """Draw in threads, for decoding and drawing leave Python free; tracks are read by this one."""
        from ...extract.run import usable_cores

        count = max(1, min(workers or usable_cores(), len(todo)))
        with _threads(count) as pool:
            flying: dict[Future[bytes], Subject] = {}
            waiting = iter(todo)
            while True:
                while len(flying) <= count and (subject := next(waiting, None)) is not None:
                    flying[pool.submit(self._sheet, subject, self._track(subject))] = subject
                if not flying:
                    return
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    self._settle(flying.pop(future), future)
                    yield

    def _settle(self, subject: Subject, future: Future[bytes]) -> None:
        """Write a sheet; a stranger's file may break any library in any way, which costs one of them."""
        from ...fusion.files import replacing

        error = future.exception()
        if error is None:
            with replacing(self.out / "sheets" / self._names[subject.clip.key]) as temporary:
                temporary.write_bytes(future.result())
            return
        reason = f"its sheet could not be drawn: {type(error).__name__}: {error}"
        self.subjects[self.subjects.index(subject)] = replace(subject, problem=subject.problem or reason)

    def _sheet(self, subject: Subject, track: Track | None) -> bytes:
        import numpy as np

        from ..frame_pictures import jpeg
        from .sheet import draw

        return jpeg(np.asarray(draw(subject, track, self._frames)))

    def _track(self, subject: Subject) -> Track | None:
        from ...extract.plan import FACES

        return self._store.read(self._rows[subject.clip.key], FACES) if subject.track else None

    def _name(self, subject: Subject) -> str:
        """Of its sheet: the clip's, and a digest of all that is on the sheet."""
        from ...fusion.files import as_file_name

        about = (LAYOUT, self._frames, asdict(subject.clip), subject.problem, subject.notes, subject.content)
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
        return f"{as_file_name(str(subject.clip))[:60]}-{digest}.jpg"

    def _clear(self) -> None:
        """Remove sheets of what is not shown any more."""
        current = set(self._names.values())
        for path in (self.out / "sheets").iterdir():
            if path.name not in current and SHEET.fullmatch(path.name):
                path.unlink()

    def _write(self) -> None:
        from ...fusion.files import replacing
        from .index import index

        text = index(self.source, self._about(), self.subjects, self.sheets, self._frames)
        with replacing(self.out / "index.html") as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _about(self) -> str:
        from ...extract.plan import FACES

        entries = [row.entries[FACES] for row in self._rows.values() if FACES in row.entries]
        ways = {
            (str(entry.key.settings.get("detector", "imported")), entry.key.settings.get("max_frames"))
            for entry in entries
        }
        told = [
            f"{name} in {f'at most {frames} frames a clip' if frames else 'all frames'}"
            for name, frames in ways
        ]
        return f"Faces found by {' and by '.join(sorted(told))}." if told else "No faces were looked for."


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, left early, drops what it has not begun."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _say(shown: _Preview) -> None:
    """Failures with their reasons, the clips to look at first, and where the page is."""
    for subject in shown.failed:
        reason = subject.problem or "; ".join(subject.notes)
        click.echo(f"{'failed' if subject.problem else 'note'}: {subject.clip}: {reason}", err=True)
    worst = [s for s in shown.subjects if s.track and not s.problem][:WORST]
    rows = [
        [
            str(s.clip),
            f"{s.track.rate:.1%}",
            *(
                "-" if figure is None else f"{figure:{spec}}"
                for figure, spec in (
                    (s.track.confidence, ".2f"),
                    (s.track.smallest_face, ".0f"),
                    (s.track.largest_jump, ".0%"),
                )
            ),
        ]
        for s in worst
        if s.track
    ]
    if rows:
        click.echo(aligned(["look at first", "with face", "confidence", "smallest px", "largest jump"], rows))
    sheets = len(shown.sheets)
    click.echo(f"{shown.out / 'index.html'}: {len(shown.subjects)} clips, {sheets} sheets")
