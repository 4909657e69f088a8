"""``avemo preview``: show the face chosen in each clip, on contact sheets and an index page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..corpora.clips.found import first_of
from ..pages.preview.folder import Preview
from ..stage_one import ClipFolder, into_store
from .clip_options import DATASET_OPTIONS, PATTERN_HELP, dataset_options
from .extraction import Printed
from .framework import InputError, altered, command, group, json_result, keep_result, refuse_idle
from .options import detector_option, max_frames_option, store_option, workers_option
from .table import aligned

if TYPE_CHECKING:
    from ..corpora.clips.find import FoundClips

FRAMES_LOOKED_AT, FRAMES_SHOWN, SHEETS = 32, 8, 1000
WORST = 5
OF_CLIPS = (*DATASET_OPTIONS, "detector", "max_frames", "store")

EXAMPLES = """
\b
Examples:
  avemo preview afew/                     detects faces in 32 frames of each clip
  avemo preview features                  a store: shows its face tracks
  avemo preview one.mp4 two.mp4 --max-frames 0
  avemo preview clips/ --store features --max-frames 0
  avemo preview features --sheets 0 --json > faces.json

The page is DIR/index.html; 10,000 clips take less than 3 MB. Each sheet is a file of about 100 kB beside
it. Existing sheets of the same track and settings are kept.

\b
Exit code: 0 done; 1 done, but some clips failed or are damaged, each named
with its reason; 2 wrong arguments or input; 130 interrupted: the same command
continues.
"""


@command("preview", epilog=EXAMPLES + PATTERN_HELP)
@click.argument("paths", metavar="CLIPS|STORE", nargs=-1, required=True, type=click.Path(path_type=Path))
@dataset_options
@group(
    "Clips",
    altered(
        max_frames_option,
        type=click.IntRange(min=0),
        default=FRAMES_LOOKED_AT,
        show_default=True,
        help="For CLIPS: detect faces in at most N frames of each, evenly spaced. 0: in all, as "
        "avemo-extract does by default.",
    ),
)
@group("Features", altered(detector_option, help="For CLIPS: auto, dlib, yunet[@FILE.onnx], or ssd@FILE."))
@group(
    "Where it runs", altered(workers_option, help="Number of parallel processes.  [default: one per core]")
)
@group(
    "Output",
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default="preview",
        show_default=True,
        metavar="DIR",
        help="Folder for the page and its sheets.",
    ),
    click.option(
        "--frames",
        type=click.IntRange(2, 16),
        default=FRAMES_SHOWN,
        show_default=True,
        metavar="N",
        help="Frames on a sheet, evenly spaced.",
    ),
    click.option(
        "--sheets",
        type=click.IntRange(min=0),
        default=SHEETS,
        show_default=True,
        metavar="N",
        help="Draw sheets of the N clips with the fewest faces; the page lists all clips. 0: all.",
    ),
    altered(
        store_option,
        default=None,
        show_default=False,
        help="For CLIPS: feature store for their faces and sound, also for avemo-extract.  [default: "
        "store in --out]",
    ),
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
    """Show which face was chosen in each clip, to find wrong ones in a minute.

    Draws a contact sheet for each clip (frames with the face's box and points, the aligned faces that a
    network sees, the detector's confidence over time, the sound and its speech), and an index page, clips
    with the fewest faces first.

    CLIPS are video files or a folder of any data set that avemo-extract reads; their faces are detected
    first. For a STORE, the stored face tracks are shown.
    """
    if (out / "index.html").exists() and not (out / "sheets").is_dir():
        raise InputError(f"{out} holds an index.html that is not a preview; name another folder with --out")
    if (paths[0] / "store.json").exists():
        if len(paths) > 1:
            raise click.UsageError(f"{paths[0]} is a store, which is shown alone; leave out {paths[1]}")
        refuse_idle(dict.fromkeys(OF_CLIPS, f"{paths[0]} is a store, whose tracks are shown as they are"))
        found, path = None, paths[0]
    else:
        found, path = _found(paths, source), store or out / "store"
        _extract(paths, found, path, detector, max_frames or None, workers)
    from ...cache.store import FeatureStore

    with FeatureStore(path) as opened:
        wanted = {clip.key for clip in found.clips} if found else {row.clip.key for row in opened.rows}
        rows = [row for row in opened.rows if row.clip.key in wanted]
        shown = Preview(opened, rows, out, frames, first_of(paths, 1))
        shown.draw(sheets, workers)
    _say(shown)
    keep_result(**shown.table())
    return 1 if shown.failed or (found and found.problems) else 0


def _found(paths: Sequence[Path], source: dict[str, Any]) -> FoundClips:
    if len(paths) == 1:
        return ClipFolder(paths[0], **source).find()
    for path in paths:
        if not path.exists():
            raise InputError(f"'{path}' does not exist; name video files")
        if path.is_dir():
            raise InputError(f"'{path}' is a folder, one of several paths; name it alone, or files alone")
    refuse_idle(dict.fromkeys(DATASET_OPTIONS, "several files are shown as they are, unlabelled"))
    from ..corpora.clips.find import find_files

    return find_files(paths)


def _extract(
    paths: Sequence[Path],
    found: FoundClips,
    path: Path,
    detector: str,
    max_frames: int | None,
    workers: int,
) -> None:
    """Extract face tracks and sound, without networks, into the store at ``path``.

    Raises:
        InputError: the store holds tracks made with other settings, which would be replaced.
    """
    from ...cache.store import FeatureStore
    from ...extract.plan import Plan
    from ...extract.streams.faces import FACES
    from ...extract.streams.registry import keys_of
    from ..detector_choice import choose_detector

    Printed().found(paths[0], found)
    plan = Plan(detector, backbones=(), max_frames=max_frames, pictures=not found.markers)
    if plan.pictures and (path / "store.json").exists():
        with FeatureStore(path) as store:
            key = keys_of(replace(plan, detector=choose_detector(detector, store).text))[FACES]
            stored = [row.entries[FACES].key for row in map(store.row, found.clips) if row and row.has(FACES)]
        differing = next((other.differences(key) for other in stored if other != key), None)
        if differing:
            raise InputError(
                f"{path} holds face tracks with other settings ({'; '.join(differing)}: stored / asked for), "
                f"which would be replaced; show them with avemo preview {path}, or name another --store"
            )
    into_store(found, plan, path, workers, reporter=Printed())


def _say(shown: Preview) -> None:
    """Print failures with their reasons, the clips to check first, and the path of the page."""
    for subject in shown.failed:
        reason = subject.problem or "; ".join(subject.notes)
        click.echo(f"{'failed' if subject.problem else 'note'}: {subject.clip}: {reason}", err=True)
    worst = [s for s in shown.subjects if s.track and not s.problem][:WORST]
    rows = [[str(s.clip), *s.track.cells] for s in worst if s.track]
    if rows:
        click.echo(aligned(["look at first", "with face", "confidence", "smallest px", "largest jump"], rows))
    sheets = len(shown.sheets)
    click.echo(f"{shown.out / 'index.html'}: {len(shown.subjects)} clips, {sheets} sheets")
