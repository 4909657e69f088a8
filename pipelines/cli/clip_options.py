"""Options that describe the clips, for all commands that take a folder of clips."""

from __future__ import annotations

from pathlib import Path

import click

from ..corpora.clips.labels import OTHERS
from .completion import datasets, names
from .framework import group

PATTERN_HELP = """
\b
--pattern is matched against the end of each path, without its suffix:
  {name}         characters up to the next one in the pattern
  {name:REGEX}   what the regular expression matches; {:REGEX} has no name
  *, **/         anything within a name; any folders
{emotion}, {subject} (or {actor}, {speaker}), {session} and {split} have that
meaning. Other names only distinguish recordings.
"""

labels_option = click.option(
    "--labels",
    default="",
    metavar="A=B,…",
    help="Classes to keep, as NAME or NAME=CLASS ('an=Angry,di=Disgust'), or a CSV or JSON file.  "
    "[default: all, with their own names]",
)

dataset_options = group(
    "Clips",
    click.option(
        "--dataset",
        default="auto",
        show_default=True,
        metavar="NAME",
        shell_complete=names(datasets),
        help="Data set in the folder: auto, or a name from `avemo datasets list`.",
    ),
    click.option(
        "--pattern",
        default="",
        metavar="PATTERN",
        help="How files are named, such as '{actor}-{sentence}-{emotion}_{take}'; see below.",
    ),
    click.option(
        "--manifest",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="Table of clips with a column path and optional columns id, split, label, subject, session.",
    ),
    labels_option,
    click.option(
        "--other-labels",
        type=click.Choice(OTHERS),
        default="keep",
        show_default=True,
        help="What to do with classes other than the seven emotions (calm, excited, contempt, …): keep them; "
        "map each to the nearest emotion; or drop them. map and drop also correct spellings of the seven.",
    ),
)
"""Options of a folder of clips; their values are fields of :class:`.ClipFolder`."""

DATASET_OPTIONS = ("dataset", "pattern", "manifest", "labels", "other_labels")
