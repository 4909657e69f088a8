"""The options that say what the clips are, for all commands that take a folder of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..corpora.clips.labels import OTHERS

if TYPE_CHECKING:
    from ..corpora.clips.find import Found

PATTERN_HELP = """
\b
Patterns of --pattern, of paths without their suffix:
  {name}         characters up to the one that follows
  {name:REGEX}   what a regular expression matches; {:REGEX} without a name
  *, **/         anything within a name; any folders
{emotion}, {subject} (or {actor}, {speaker}), {session} and {split} say what
they say; other names help to tell recordings apart.
"""

_OPTIONS = (
    click.option(
        "--dataset",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="What the folder is: auto, or a name that avemo datasets list tells.",
    ),
    click.option(
        "--pattern",
        default="",
        metavar="PATTERN",
        help="How its files are named, such as '{actor}-{sentence}-{emotion}_{take}'; see below.",
    ),
    click.option(
        "--manifest",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="A table with a column path and, as known, id, split, label, subject, session.",
    ),
    click.option(
        "--labels",
        default="",
        metavar="A=B,…",
        help="The classes wanted, NAME or NAME=CLASS ('an=Angry,di=Disgust'), or a CSV or JSON file of "
        "them; others are left out.  [default: all, as they are called]",
    ),
    click.option(
        "--other-labels",
        type=click.Choice(OTHERS),
        default="keep",
        show_default=True,
        help="Classes that are none of the seven emotions (calm, excited, contempt, …): keep them; map "
        "each to the nearest; drop them. The last two put other names of the seven right, too.",
    ),
)


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; :func:`find_chosen` takes what they say."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


DATASET_OPTIONS = ("dataset", "pattern", "manifest", "labels", "other_labels")


def find_chosen(
    root: Path, dataset: str, pattern: str, manifest: Path | None, labels: str, other_labels: str
) -> Found:
    """The clips in ``root`` that these options say; see :func:`.find_clips`.

    Raises:
        DatasetError: there are none, or an option is wrong.
    """
    from ..corpora.clips.find import find_clips
    from ..corpora.clips.labels import read_labels

    wanted = read_labels(labels) if labels else None
    return find_clips(root, dataset, manifest, pattern=pattern, labels=wanted, others=other_labels)
