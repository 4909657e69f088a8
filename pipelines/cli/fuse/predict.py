"""``avemo-fuse predict``: score clips with trained runs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...fuse.notes import demo_note, unscored_note
from ...fuse.settings import ScoringSettings
from ..clip_options import PATTERN_HELP, dataset_options
from ..console import Console, tell
from ..framework import altered, command, group, json_result, keep_result, refuse_idle
from ..options import (
    audio_backbones_option,
    backbones_option,
    detector_option,
    device_option,
    hop_option,
    overlay_option,
    segment_backbones_option,
    store_option,
    window_option,
    workers_option,
)
from ..outputs import overwrite_option, refuse_existing
from ..table import aligned, records
from .options import defaults_from

if TYPE_CHECKING:
    from ....fusion.evaluation.scores import Scores

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
@defaults_from(ScoringSettings)
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
        help="Feature store, if none follows the runs [default: features]; for clips: store to keep their "
        "features in [default: none].",
    ),
    altered(
        backbones_option,
        metavar="NAME[@WEIGHTS]",
        help="For clips: weights of a face network that the runs use. Repeatable.",
    ),
    altered(
        audio_backbones_option, help="For clips: weights of an audio network that the runs use. Repeatable."
    ),
    altered(
        segment_backbones_option,
        metavar="NAME[@WEIGHTS]",
        help="For clips: weights of an image network over MFCC images that the runs use. Repeatable.",
    ),
    altered(
        detector_option,
        default=None,
        show_default=False,
        metavar="NAME[@FILE]",
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
    altered(
        overlay_option,
        help="For clips: write the video with the face's box, the predicted class and a bar per class (of "
        "the window whose middle is nearest), and what --timeline writes. For several clips: a folder.",
    ),
    click.option(
        "--timeline",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="For clips: write probabilities over sliding windows, and a JSON file with the face's boxes "
        "as well. For several clips: a folder.  [default: beside --overlay]",
    ),
    altered(
        window_option,
        help="Length of a sliding window in seconds.  [default: typical length of the training clips, or 3]",
    ),
    altered(hop_option, help="Seconds from one window to the next.  [default: 0.5]"),
    overwrite_option,
)
@json_result
def predict(**options: Any) -> int:
    """Score the clips of STORE, or the video clips in CLIPS, with the mean of all members of each RUN.

    Clips in a store must have been extracted with the settings that the runs were trained on; files and
    folders are extracted with these settings here. With --overlay or --timeline each video is also scored
    over time. If labels are known, the last line shows accuracy and unweighted average recall over the
    labelled clips that no RUN was trained on.
    """
    settings = ScoringSettings(**{name: options.pop(name) for name in FIELDS}, dataset=options)
    if (settings.window or settings.hop) and not (settings.overlay or settings.timeline):
        raise click.UsageError("--window and --hop need --overlay MP4 or --timeline CSV to write to")
    from ...fuse.predict import idle, predict
    from ..extraction import Printed

    refuse_existing([settings.out], settings.overwrite)
    refuse_idle(idle(settings))
    done = predict(settings, Console(), Printed())
    members = sum(run.members for run in done.runs)
    counts = f"clips: {len(done.rows)}; runs: {len(done.runs)}; members averaged: {members}"
    tell([("scored", counts), ("wrote", str(settings.out))])
    keep_result(out=str(settings.out), clips=len(done.rows), members=members)
    for note in filter(None, (unscored_note(done.scores), demo_note(done.rows))):
        click.echo(note)
    report(done.scores, done.trained)
    return 1 if done.incomplete else 0


FIELDS = [each.name for each in fields(ScoringSettings) if each.name != "dataset"]


def report(scores: Scores, trained: set[tuple[str, str]]) -> None:
    """Print accuracy and unweighted average recall of labelled clips, separately for those ``trained`` on."""
    from ....fusion.evaluation.metrics import summary

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
        click.echo("the runs were trained on all of these clips: the figures say nothing about others")
        return
    final = summary(known.take(fresh))
    keep_result(accuracy=final.accuracy, uar=final.uar)
    click.echo(f"accuracy {final.accuracy:.3f}  UAR {final.uar:.3f}")
