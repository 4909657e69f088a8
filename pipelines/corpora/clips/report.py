"""The output of ``avemo datasets``, as JSON and as text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....cache.clips import Clip
from ....cache.order import natural
from ...cli.table import aligned
from .folders import empty_class_folders
from .found import UNLABELLED, FoundClips, below, count_of
from .labels import SYNONYMS
from .published import Comparison, compare
from .scan import LeftOut, Tree, scan
from .schemes import SCHEMES

FIRST = 3  # files shown of those left out for one reason
SUBJECTS = 24  # shown with their classes
NAMES = 12  # shown of a list
POINTER = b"version https://git-lfs"
POINTER_SIZE = 1024  # bytes that a pointer of Git LFS does not reach
ARCHIVES = frozenset({".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"})
UNFINISHED = frozenset({".crdownload", ".download", ".part", ".partial"})
SEVEN = frozenset(SYNONYMS.values())


def known() -> list[dict[str, Any]]:
    """The data sets that have a name."""
    return [
        {
            "name": scheme.name,
            "layout": scheme.example,
            "clips": sum(count.clips for count in scheme.published) or None,
            "parts": {count.part: count.clips for count in scheme.published},
            "classes": sorted({name for count in scheme.published for name in count.classes}),
            "subjects": len({name for count in scheme.published for name in count.subjects}) or None,
        }
        for scheme in SCHEMES.values()
    ]


def known_as_text(sets: Iterable[Mapping[str, Any]]) -> str:
    """A table of them, and their layouts."""
    sets = list(sets)
    rows = [[each["name"], each["clips"], each["subjects"], _classes(each["classes"])] for each in sets]
    layouts = [[each["name"], each["layout"]] for each in sets]
    return (
        f"{aligned(['name', 'clips', 'subjects', 'classes'], rows)}\n\n{aligned(['name', 'layout'], layouts)}"
    )


def _classes(names: Collection[str]) -> str:
    if not names:
        return "as found"
    beyond = sorted({*names} - SEVEN)
    lacking = sorted(SEVEN - {*names})
    text = "the seven" if not lacking else f"the seven but {', '.join(lacking)}"
    text = text if len(lacking) < 3 else ", ".join(sorted({*names} & SEVEN))
    return f"{text}, and {', '.join(beyond)}" if beyond else text


def report(root: Path, own: FoundClips, found: FoundClips, besides: Sequence[LeftOut]) -> dict[str, Any]:
    """All that is known of a folder.

    Args:
        root: the folder.
        own: what was found, with the corpus's own classes, which the published counts are of.
        found: the same with the classes that are wanted.
        besides: what else should be looked at.
    """
    subjects = _tallies(found.clips, "subject")
    splits = {name: {clip.split for clip in found.clips if clip.subject == name} for name in subjects}
    compared = compare(own.clips, SCHEMES[own.name].published if own.name else ())
    left_out = [*found.left_out, *besides]
    return {
        "folder": str(root),
        "dataset": found.dataset,
        "name": found.name or None,
        "clips": len(found.clips),
        "splits": found.counts,
        "subjects": subjects,
        "sessions": _tallies(found.clips, "session"),
        "without_subject": sum(clip.subject is None for clip in found.clips),
        "in_several_splits": [name for name in subjects if len(splits[name]) > 1],
        "other_classes": sorted({str(clip.label) for clip in found.clips if clip.label} - SEVEN),
        "published": [_told(each) for each in compared],
        "notes": found.notes,
        "left_out": _grouped(left_out),
        "whole": all(each.whole for each in compared) and all(item.spare for item in left_out),
    }


def _tallies(clips: Iterable[Clip], what: str) -> dict[str, dict[str, int]]:
    """Subject or session → class → clips, in natural order of their names."""
    tallies: dict[str, Counter[str]] = {}
    for clip in clips:
        name = getattr(clip, what)
        if name is not None:
            tallies.setdefault(name, Counter())[clip.label or UNLABELLED] += 1
    return {name: dict(sorted(tallies[name].items())) for name in sorted(tallies, key=natural)}


def _told(each: Comparison) -> dict[str, Any]:
    return {
        "part": each.count.part,
        "published": each.count.clips,
        "here": each.here,
        "classes": {name: {"here": here, "published": own} for name, (here, own) in each.classes.items()},
        "subjects_missing": each.absent,
        "subjects_with_fewer": each.fewer,
        "clips_of_each_subject": each.count.each or None,
    }


def _grouped(items: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """By reason, what should be looked at before what only repeats others."""
    groups: dict[tuple[bool, str], list[LeftOut]] = {}
    for item in items:
        groups.setdefault((item.spare, item.reason), []).append(item)
    return [
        {
            "reason": reason,
            "spare": spare,
            "count": len(members),
            "first": [{"path": item.path, "detail": item.detail} for item in members[:FIRST]],
        }
        for (spare, reason), members in sorted(groups.items(), key=lambda group: group[0][0])
    ]


def no_media(found: FoundClips, root: Path) -> list[LeftOut]:
    """Clips whose files are empty, or are what Git LFS puts in a file's place."""
    items = []
    for clip in found.clips:
        problem = _no_media(clip.path)
        if problem:
            items.append(LeftOut(below(root.absolute(), clip.path), problem))
    return items


def _no_media(file: str) -> str:
    try:
        size = os.stat(file).st_size  # noqa: PTH116
        if size >= POINTER_SIZE:
            return ""
        if not size:
            return "is empty: get it again"
        with Path(file).open("rb") as opened:
            start = opened.read(len(POINTER))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is a pointer of Git LFS, not the file itself: run git lfs pull" if start == POINTER else ""


def not_unpacked(root: Path) -> list[LeftOut]:
    """Archives below a folder, and what a download leaves there until it is done."""
    if not root.is_dir():
        return []
    files = scan(root, ARCHIVES | UNFINISHED).files
    return [
        LeftOut(str(file), "an archive, not looked into", spare=True)
        if file.suffix.lower() in ARCHIVES
        else LeftOut(str(file), "a download that is not finished")
        for file in files
    ]


def without_clips(found: FoundClips, root: Path) -> list[LeftOut]:
    """Folders beside class folders that hold no clip."""
    files = ((Path(clip.path), clip.label) for clip in found.clips)
    return [
        LeftOut(folder, "a class folder without a clip")
        for folder in empty_class_folders(files, root.absolute())
    ]


def not_listed(found: FoundClips, tree: Tree, manifest: Path) -> list[LeftOut]:
    """Media files of a folder that a manifest does not list."""
    folder = manifest.absolute().parent
    paths = [*(clip.path for clip in found.clips), *(item.path for item in found.left_out)]
    listed = {os.path.abspath(os.path.join(folder, path)) for path in paths}  # noqa: PTH100, PTH118
    root = os.path.abspath(tree.root)  # noqa: PTH100
    return [
        LeftOut(str(file), f"no row of {manifest.name} lists it")
        for file in tree.files
        if f"{root}/{file}" not in listed
    ]


def as_text(told: Mapping[str, Any]) -> str:
    """The report for people."""
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
    """Clips per class of each subject or session; only how many there are where there are many."""
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
        lines.append(f"subjects in several splits: {_list(told['in_several_splits'])}")
    if told["other_classes"]:
        lines.append(
            f"classes that are none of the seven: {_list(told['other_classes'])} (see --other-labels)"
        )
    return "\n".join(lines)


def _published_text(parts: Sequence[Mapping[str, Any]]) -> str:
    if not parts:
        return ""
    rows = [[part["part"], part["published"], part["here"]] for part in parts]
    lines = [aligned(["part", "published", "here"], rows)]
    for part in parts:
        if part["here"]:
            lines += _differences(part)
    return "\n".join(lines)


def _differences(part: Mapping[str, Any]) -> list[str]:
    classes = [f"{name} {count['here']} of {count['published']}" for name, count in part["classes"].items()]
    fewer = [f"{name} {count}" for name, count in part["subjects_with_fewer"].items()]
    told = {
        "by class": _list(classes),
        "no clips of subjects": _list(part["subjects_missing"]),
        f"fewer than {part['clips_of_each_subject']} clips of subjects": _list(fewer),
    }
    return [f"{part['part']}: {what} {text}" for what, text in told.items() if text]


def _left_out_text(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    texts = []
    for group in groups:
        head = (
            f"{'passed over' if group['spare'] else 'to be looked at'}: {group['count']}: {group['reason']}"
        )
        lines = [
            f"  {item['path']}" + (f" ({item['detail']})" if item["detail"] else "")
            for item in group["first"]
        ]
        more = group["count"] - len(lines)
        texts.append("\n".join([head, *lines, *([f"  and {more} more"] if more else [])]))
    return texts


def _list(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
