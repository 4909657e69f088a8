"""``avemo-fuse predict``: scores of clips from trained runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from ..cli.clip_options import DATASET_OPTIONS, PATTERN_HELP, dataset_options
from ..cli.console import tell
from ..cli.framework import InputError, altered, command, group, json_result, keep_result, refuse_idle
from ..cli.options import (
    audio_backbones_option,
    backbones_option,
    detector_option,
    device_option,
    segment_backbones_option,
    store_option,
    workers_option,
)
from ..cli.outputs import overwrite_option, refuse_existing
from ..cli.table import aligned, records
from ..corpora.clips.found import count_of, first_names
from ..stores import open_store
from .notes import demo_note, unscored_note

if TYPE_CHECKING:
    from ...cache.keys import FeatureKey
    from ...cache.rows import Row
    from ...cache.store import FeatureStore
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.runs import Run
    from ..corpora.clips.find import FoundClips

EXAMPLES = """
\b
Examples:
  avemo-fuse predict runs/default features --out scores.csv --split test
  avemo-fuse predict runs/f-mean runs/f-meanstd --store features --out scores.csv
  avemo-fuse predict runs/default film.mp4 --out scores.csv
  avemo-fuse predict runs/default films/*.mp4 --out scores.csv
  avemo-fuse predict runs/default film.mp4 --overlay shown.mp4      # and shown.csv, shown.json
  avemo-fuse predict runs/default films/*.mp4 --overlay shown/ --window 2 --hop 0.25
  avemo-fuse predict runs/default talk.wav --timeline talk.csv
  avemo-fuse predict runs/ir50 clips/ --backbone ir50@affectnet.pth --out scores.csv
  avemo-fuse predict runs/default crema/ --dataset crema-d --out scores.csv
  avemo-fuse predict runs/default clips/ --pattern '{actor}-{emotion}' --labels 'an=Angry,sa=Sad'

\b
Exit code: 0 done; 1 done, but some clips failed; 2 wrong arguments or input; 130 interrupted.
"""


@command("predict", epilog=EXAMPLES + PATTERN_HELP)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN... [STORE|CLIPS...]"
)
@dataset_options
@group(
    "Clips", click.option("--split", metavar="NAME", help="Score clips of one split only.  [default: all]")
)
@group(
    "Features",
    altered(
        store_option,
        default=None,
        show_default=False,
        help="Feature store, if none follows the runs [default: features]; with clips, where their features "
        "are kept [default: nowhere].",
    ),
    altered(
        backbones_option,
        metavar="NAME@WEIGHTS",
        help="For clips: weights of a face network that the runs use. Repeatable.",
    ),
    altered(
        audio_backbones_option, help="For clips: weights of an audio network that the runs use. Repeatable."
    ),
    altered(
        segment_backbones_option,
        metavar="NAME@WEIGHTS",
        help="For clips: weights of an image network over MFCC images that the runs use. Repeatable.",
    ),
    altered(
        detector_option,
        default=None,
        show_default=False,
        metavar="NAME@FILE",
        help="For clips: the detector's file, if it has one.",
    ),
)
@group(
    "Where it runs",
    device_option,
    altered(workers_option, help="For clips: number of parallel processes.  [default: one per core]"),
)
@group(
    "Output",
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default="scores.csv",
        show_default=True,
        metavar="CSV",
        help="File for the scores.",
    ),
    click.option(
        "--overlay",
        type=click.Path(path_type=Path),
        metavar="MP4",
        help="For clips: write the video with the face's box, the predicted class and a bar per class (of "
        "the window whose middle is nearest), and what --timeline writes. For several clips: a folder.",
    ),
    click.option(
        "--timeline",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="For clips: write probabilities over sliding windows, and a JSON file that has the face's boxes "
        "too. For several clips: a folder.  [default: beside --overlay]",
    ),
    click.option(
        "--window",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Length of a sliding window in seconds.  [default: typical length of the training clips, or 3]",
    ),
    click.option(
        "--hop",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Seconds from one window to the next.  [default: 0.5]",
    ),
    overwrite_option,
)
@json_result
def predict(
    paths: tuple[Path, ...],
    store: Path | None,
    split: str | None,
    out: Path,
    overlay: Path | None,
    timeline: Path | None,
    window: float | None,
    hop: float | None,
    backbones: tuple[str, ...],
    audio_backbones: tuple[str, ...],
    segment_backbones: tuple[str, ...],
    detector: str | None,
    device: str,
    workers: int,
    overwrite: bool,
    **dataset: Any,
) -> int:
    """Score the clips of STORE, or the video clips in CLIPS, with the mean of all members of each RUN.

    The clips of a store must have been extracted with the settings that the runs were trained on; those in
    a folder, or in files, are extracted so here. With --overlay or --timeline each video is scored over time
    as well. Where labels are known, the last line is accuracy and unweighted average recall over the labelled
    clips that no RUN was trained on.
    """
    if (window or hop) and not (overlay or timeline):
        raise click.UsageError("--window and --hop need --overlay MP4 or --timeline CSV to write to")
    runs, files, source = divide(paths, store)
    from ...fusion.training.leaks import known_to
    from ...fusion.training.runs import Run
    from ...fusion.training.runs import predict as mean_of_members
    from ..pages.overlay.windows import Wanted, over_time

    refuse_existing([out], overwrite)
    want = Wanted(out, overlay, timeline, window, hop, overwrite)
    loaded = [Run(path) for path in runs]
    refuse_idle(idle(loaded, files, source))
    found, failures = None, 0
    with TemporaryDirectory(prefix="avemo-") as scratch:
        if files or is_clips(source):
            from ..cli.extraction import Printed
            from ..corpora.clips.find import find_files
            from ..plan_again import plan_again
            from ..stage_one import ClipFolder, into_store

            one = files[0] if files else source
            found = find_files(files) if len(files) > 1 else ClipFolder(one, **dataset).find()
            Printed().found(source, found)
            plan = plan_again(
                keys_of(loaded), detector, backbones, audio_backbones, device, segment_backbones
            )
            source = store or Path(scratch) / "features"
            if want:
                scores, rows, failures = over_time(
                    loaded, of_split(found, split), plan, want, source, device, workers
                )
            else:
                failures = into_store(found, plan, source, workers, reporter=Printed())
        elif want:
            raise click.UsageError(
                f"--overlay and --timeline need video clips, and {source} is a store; name a file or a folder"
            )
        if not want:
            with open_store(source) as opened:
                rows = choose(opened, found, split)
                scores = mean_of_members(loaded, opened, rows, device)
        scores = with_truth(scores, rows)
        trained = known_to(loaded, rows, source)
    scores.write(out)
    members = sum(run.members for run in loaded)
    tell(
        [
            ("scored", f"clips: {len(rows)}; runs: {len(loaded)}; members averaged: {members}"),
            ("wrote", str(out)),
        ]
    )
    keep_result(out=str(out), clips=len(rows), members=members)
    for note in filter(None, (unscored_note(scores), demo_note(rows))):
        click.echo(note)
    report(scores, trained)
    return 1 if failures or (found and found.problems) else 0


def idle(runs: Sequence[Run], files: Sequence[Path], source: Path) -> dict[str, str]:
    """The options that do nothing with these runs and clips → why."""
    networks = ("backbones", "audio_backbones", "segment_backbones", "detector")
    if not (files or is_clips(source)):
        why = f"{source} is a store, and holds the features of its clips"
        return dict.fromkeys((*networks, "workers", *DATASET_OPTIONS), why)
    streams = {stream for run in runs for stream in run.keys}
    spoken = {stream for stream in streams if stream.partition("/")[0] == "segments"}
    found: dict[str, str] = {}
    if not any("/" in stream for stream in streams - spoken):
        found |= dict.fromkeys(("backbones", "detector"), "the runs read no pictures")
    if not any(stream.startswith("alexnet") for stream in streams):
        found["audio_backbones"] = "the runs read no audio network"
    if not any("/" in stream for stream in spoken):
        found["segment_backbones"] = "the runs read no network over segments"
    if len(files) > 1:
        found |= dict.fromkeys(DATASET_OPTIONS, "several files are taken as they are, unlabelled")
    return found


def with_truth(scores: Scores, rows: Sequence[Row]) -> Scores:
    """The scores with each clip's class as the runs call it; what they do not know is told.

    A label in other case, or another name for one of the seven emotions, is the runs' own class.
    """
    from ..corpora.clips.labels import same_class

    labels = {row.clip.key: row.clip.label for row in rows}
    names = {label: same_class(label, scores.classes) for label in {*labels.values()} if label is not None}
    taken = [f"{old} as {new}" for old, new in sorted(names.items()) if new not in (None, old)]
    foreign = sorted(old for old, new in names.items() if new is None)
    if taken:
        click.echo(f"classes taken: {', '.join(taken)}")
    if foreign:
        count = sum(label in foreign for label in labels.values())
        click.echo(
            f"note: {count_of(count, 'clip')} labelled {', '.join(foreign)}, which the runs do not know "
            f"(their classes: {', '.join(scores.classes)}), counted as unlabelled; --labels 'NAME=CLASS' "
            "or --other-labels map says what they are",
            err=True,
        )
    truth = tuple(names.get(labels[clip] or "") for clip in scores.clips)
    return replace(scores, truth=truth)


def report(scores: Scores, trained: set[tuple[str, str]]) -> None:
    """Print accuracy and unweighted average recall of the labelled clips, those that were ``trained`` on
    apart."""
    from ...fusion.evaluation.metrics import summary

    known = scores.labelled
    sets = [(split, known.select(split)) for split in known.splits]
    fresh = [i for i, clip in enumerate(known.clips) if clip not in trained]
    lines: list[tuple[str, Scores]] = []
    for split, own in sets:
        for fitted in (False, True):
            part = [i for i, clip in enumerate(own.clips) if (clip in trained) == fitted]
            name = f"{split} (trained on)" if fitted else split
            lines += [(name, own.take(part))] if part else []
    if not lines:
        return
    rows = [[name, found.clips, found.accuracy, found.uar] for name, own in lines for found in [summary(own)]]
    click.echo("\n" + aligned(["labelled clips", "clips", "accuracy", "UAR"], rows))
    keep_result(figures=records(["name", "clips", "accuracy", "uar"], rows))
    if not fresh:
        click.echo("the runs were trained on all of these clips: the figures tell nothing of others")
        return
    final = summary(known.take(fresh))
    keep_result(accuracy=final.accuracy, uar=final.uar)
    click.echo(f"accuracy {final.accuracy:.3f}  UAR {final.uar:.3f}")


def divide(paths: Sequence[Path], store: Path | None) -> tuple[list[Path], list[Path], Path]:
    """The runs among ``paths``; clips that are files; and what holds the clips: a folder of them, what those
    files have in common, or a store, which is ``store`` or ``features`` where ``paths`` name none.
    """
    runs = [path for path in paths if (path / "run.json").exists()]
    others = [path for path in paths if path not in runs]
    files = [path for path in others if path.is_file()]
    if files and len(files) == len(others):
        others = [Path(os.path.commonpath([file.absolute() for file in files]))]
    elif store and not any(map(is_clips, others)):
        others.append(store)
    if len(others) > 1:
        raise click.UsageError(
            f"{first_names(others)}: one store, one folder of clips or files expected; runs are folders "
            "with a run.json"
        )
    if not runs:
        raise click.UsageError(
            f"{first_names(paths)}: no run among these (a folder with a run.json); avemo-fuse train makes one"
        )
    return runs, files, (others or [Path("features")])[0]


def is_clips(path: Path) -> bool:
    """Whether there is a file, or a folder that is no store."""
    return path.exists() and not (path / "store.json").exists()


def keys_of(runs: Sequence[Run]) -> dict[str, FeatureKey]:
    """The keys of all streams that the runs read.

    Raises:
        InputError: two runs read a stream of different settings.
    """
    keys: dict[str, FeatureKey] = {}
    for run in runs:
        for stream, key in run.keys.items():
            if keys.setdefault(stream, key) != key:
                changes = "; ".join(keys[stream].differences(key))
                raise InputError(
                    f"{run.path} reads {stream!r} of other settings than the runs before it ({changes}); "
                    "score the clips with each alone, and join the scores by avemo-fuse ensemble"
                )
    return keys


def of_split(found: FoundClips, split: str | None) -> FoundClips:
    """The clips of one split, where one is named."""
    clips = [clip for clip in found.clips if split in (None, clip.split)]
    if not clips:
        have = ", ".join(sorted({clip.split for clip in found.clips}))
        raise click.UsageError(f"there are no clips of split {split!r}; the clips are of {have}")
    return replace(found, clips=clips)


def choose(store: FeatureStore, found: FoundClips | None, split: str | None) -> list[Row]:
    """The clips to score: those found, or all that the store holds; of one split, where one is named."""
    every = store.rows if found is None else [row for row in map(store.row, found.clips) if row]
    rows = [row for row in every if split in (None, row.clip.split)]
    if not rows:
        have = ", ".join(sorted({row.clip.split for row in every})) or "no clips"
        raise click.UsageError(f"{store.path} has no clips of split {split!r}; it has {have}")
    return rows
