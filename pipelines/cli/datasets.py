"""``avemo datasets``: which data sets are known, and what of one is in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .clip_options import PATTERN_HELP, dataset_options, find_chosen
from .framework import command, json_result, tell_result, wants_json

EXAMPLES = f"""
\b
Examples:
  avemo datasets check RAVDESS/
  avemo datasets check clips/ --dataset crema-d --json
  avemo datasets check clips/ --pattern '{{actor}}-{{sentence}}-{{emotion}}_{{take}}' \\
                       --labels 'an=Angry,di=Disgust'
  avemo datasets check clips/ --manifest clips.csv --other-labels map
{PATTERN_HELP}
\b
Exit code: 0 all of it is there and known; 1 something is missing or should be
looked at; 2 wrong arguments, or nothing that could be used.
"""


@command("list", epilog="\b\nExamples:\n  avemo datasets list\n  avemo datasets list --json")
@json_result
def list_() -> None:
    """Say which data sets are known.

    Their published counts, classes and layouts; docs/datasets.md tells how to get them.
    """
    from ..corpora.clips.report import known, known_as_text

    sets = known()
    tell_result(sets) if wants_json() else click.echo(known_as_text(sets))


@command("check", epilog=EXAMPLES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@dataset_options
@json_result
def check(folder: Path, **source: Any) -> int:
    """See what of a data set is in DIR.

    What it was recognised as, clips of each class, subject and split, what is left out and why, and what is
    missing by the published counts. Files are looked for, not decoded: avemo-extract does that.
    """
    from ..corpora.clips.find import tree_of
    from ..corpora.clips.labels import read_labels, with_labels
    from ..corpora.clips.report import as_text, no_media, not_listed, not_unpacked, report, without_clips

    own = find_chosen(folder, **{**source, "labels": "", "other_labels": "keep"})
    wanted = read_labels(source["labels"]) if source["labels"] else None
    found = with_labels(own, wanted, source["other_labels"])
    besides = [*no_media(found, folder), *without_clips(own, folder), *not_unpacked(folder)]
    if source["manifest"]:
        besides += not_listed(own, tree_of(folder), source["manifest"])
    told = report(folder, own, found, besides)
    tell_result(told) if wants_json() else click.echo(as_text(told))
    return 0 if told["whole"] else 1


GROUP_EXAMPLES = """
\b
Examples:
  avemo datasets list
  avemo datasets check RAVDESS/
  avemo datasets check clips/ --manifest clips.csv --json
"""

datasets = click.Group(
    "datasets",
    commands=[list_, check],
    help="Say which data sets are known, and what of one is in a folder.",
    epilog=GROUP_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
