"""``avemo datasets``: list the known data sets, and check a folder of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..corpora.clips.found import count_of, first_of
from ..corpora.clips.report import (
    SEVEN,
    archives_and_downloads,
    contents,
    empty_folders,
    known_sets,
    unlisted_files,
    unusable_files,
)
from ..stage_one import ClipFolder
from .clip_options import PATTERN_HELP, dataset_options
from .framework import command, json_result, show_result
from .table import Columns, aligned, table

SUBJECTS = 24  # limit for showing subjects one by one
NAMES = 12  # limit for names shown of a list

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
Exit code: 0 complete; 1 something is missing or needs attention; 2 wrong arguments,
or no usable clip.
"""


@command("list", epilog="\b\nExamples:\n  avemo datasets list\n  avemo datasets list --json")
@json_result
def list_() -> None:
    """List the known data sets.

    Shows published counts, classes and layouts. docs/datasets.md says where to get the data.
    """
    show_result(known_sets(), _sets_text)


@command("check", epilog=EXAMPLES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@dataset_options
@json_result
def check(folder: Path, **source: Any) -> int:
    """Compare DIR with what its data set should contain.

    Prints the data set, its clips per class, subject and split, the files left out and why, and what is
    missing compared with the published counts. Files are listed, not decoded.
    """
    from ..corpora.clips.find import tree_of
    from ..corpora.clips.labels import read_labels, with_labels

    own = ClipFolder(folder, **{**source, "labels": "", "other_labels": "keep"}).find()
    wanted = read_labels(source["labels"]) if source["labels"] else None
    found = with_labels(own, wanted, source["other_labels"])
    more_left_out = [
        *unusable_files(found, folder),
        *empty_folders(own, folder),
        *archives_and_downloads(folder),
    ]
    if source["manifest"]:
        more_left_out += unlisted_files(own, tree_of(folder), source["manifest"])
    told = contents(folder, own, found, more_left_out)
    show_result(told, _contents_text)
    return 0 if told["whole"] else 1


def _sets_text(sets: Sequence[Mapping[str, Any]]) -> str:
    """Format the data sets as a table, followed by their layouts."""
    columns: Columns = {
        "name": "name",
        "clips": "clips",
        "subjects": "subjects",
        "classes": lambda each: _classes(each["classes"]),
    }
    return f"{table(sets, columns)}\n\n{table(sets, {'name': 'name', 'layout': 'layout'})}"


def _classes(names: Collection[str]) -> str:
    if not names:
        return "as found"
    beyond = sorted({*names} - SEVEN)
    lacking = sorted(SEVEN - {*names})
    text = "the seven" if not lacking else f"the seven but {', '.join(lacking)}"
    text = text if len(lacking) < 3 else ", ".join(sorted({*names} & SEVEN))
    return f"{text}, and {', '.join(beyond)}" if beyond else text


def _contents_text(told: Mapping[str, Any]) -> str:
    """Format the report as text."""
    parts = [
        f"{told['folder']}: {told['dataset']}, {count_of(told['clips'], 'clip')}",
        "\n".join(told["notes"]),
        _split_table(told["splits"]),
        *(_groups_text(told[f"{what}s"], what) for what in ("subject", "session")),
        _remarks(told),
        _published_text(told["published"]),
        *_left_out_text(told["left_out"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _split_table(splits: Mapping[str, Mapping[str, int]]) -> str:
    names = sorted({name for tally in splits.values() for name in tally})
    rows: list[list[object]] = [[name, *(tally.get(name, 0) for tally in splits.values())] for name in names]
    rows.append(["total", *(sum(tally.values()) for tally in splits.values())])
    return aligned(["class", *splits], rows)


def _groups_text(groups: Mapping[str, Mapping[str, int]], what: str) -> str:
    """Format the clips per class of each subject or session; if there are many, only their number."""
    if not groups:
        return ""
    totals = [sum(tally.values()) for tally in groups.values()]
    fewest, most = min(totals), max(totals)
    each = f"{fewest} clips each" if fewest == most else f"{fewest} to {most} clips each"
    if len(groups) > SUBJECTS:
        return f"{count_of(len(groups), what)}, {each} (--json lists them)"
    names = sorted({name for tally in groups.values() for name in tally})
    rows = [
        [group, *(tally.get(name, 0) for name in names), sum(tally.values())]
        for group, tally in groups.items()
    ]
    return aligned([what, *names, "total"], rows)


def _remarks(told: Mapping[str, Any]) -> str:
    lines = []
    if told["without_subject"]:
        lines.append(f"{count_of(told['without_subject'], 'clip')} without a subject")
    if told["in_several_splits"]:
        lines.append(f"subjects in several splits: {first_of(told['in_several_splits'], NAMES)}")
    if told["other_classes"]:
        lines.append(
            f"classes beyond the seven: {first_of(told['other_classes'], NAMES)} (see --other-labels)"
        )
    return "\n".join(lines)


def _published_text(parts: Sequence[Mapping[str, Any]]) -> str:
    if not parts:
        return ""
    lines = [table(parts, {name: name for name in ("part", "published", "here")})]
    for part in parts:
        if part["here"]:
            lines += _differences(part)
    return "\n".join(lines)


def _differences(part: Mapping[str, Any]) -> list[str]:
    classes = [f"{name} {count['here']} of {count['published']}" for name, count in part["classes"].items()]
    fewer = [f"{name} {count}" for name, count in part["subjects_with_fewer"].items()]
    told = {
        "by class": first_of(classes, NAMES),
        "no clips of subjects": first_of(part["subjects_missing"], NAMES),
        f"fewer than {part['clips_of_each_subject']} clips of subjects": first_of(fewer, NAMES),
    }
    return [f"{part['part']}: {what} {text}" for what, text in told.items() if text]


def _left_out_text(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    texts = []
    for group in groups:
        head = f"{'ignored' if group['spare'] else 'needs attention'}: {group['count']}: {group['reason']}"
        lines = [
            f"  {item['path']}" + (f" ({item['detail']})" if item["detail"] else "")
            for item in group["first"]
        ]
        more = group["count"] - len(lines)
        texts.append("\n".join([head, *lines, *([f"  and {more} more"] if more else [])]))
    return texts


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
    help="List the known data sets, and check a folder of one.",
    epilog=GROUP_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
