"""Results of ``avemo datasets``: the known data sets, and the contents of a folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ....cache.clips import Clip
from ....cache.order import natural
from .folders import empty_class_folders
from .found import UNLABELLED, FoundClips, below
from .labels import SYNONYMS
from .scan import LeftOut, Tree, scan
from .schemes import SCHEMES, Count

LISTED = 3  # files listed for each reason for leaving files out
POINTER = b"version https://git-lfs"
POINTER_SIZE = 1024  # bytes; Git LFS pointers are smaller
ARCHIVES = frozenset({".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"})
UNFINISHED = frozenset({".crdownload", ".download", ".part", ".partial"})
SEVEN = frozenset(SYNONYMS.values())


def known_sets() -> list[dict[str, Any]]:
    """Return the known data sets with their published counts."""
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


def contents(
    root: Path, original: FoundClips, found: FoundClips, more_left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    """Return everything known about a folder, as JSON values.

    Args:
        root: the folder.
        original: clips found, with the corpus's own classes, for comparison with the published counts.
        found: the same clips with the classes that the user wants.
        more_left_out: further files to report.
    """
    subjects = _tallies(found.clips, "subject")
    splits = {name: {clip.split for clip in found.clips if clip.subject == name} for name in subjects}
    counts = SCHEMES[original.name].published if original.name else ()
    comparisons = [compare(original.clips, count) for count in counts]
    left_out = [*found.left_out, *more_left_out]
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
        "published": comparisons,
        "notes": found.notes,
        "left_out": _grouped(left_out),
        "whole": all(map(_is_complete, comparisons)) and all(item.spare for item in left_out),
    }


def compare(clips: Iterable[Clip], count: Count) -> dict[str, Any]:
    """Compare a part of a corpus with its published count."""
    here = [clip for clip in clips if re.match(count.within, str(clip))]
    classes = Counter(clip.label for clip in here if clip.label)
    subjects = Counter(clip.subject for clip in here if clip.subject)
    names = dict.fromkeys([*count.classes, *classes] if count.classes else ())
    published = Counter(count.classes)
    return {
        "part": count.part,
        "published": count.clips,
        "here": len(here),
        "classes": {
            name: {"here": classes[name], "published": published[name]}
            for name in names
            if classes[name] != published[name]
        },
        "subjects_missing": [name for name in count.subjects if not subjects[name]],
        "subjects_with_fewer": {
            name: subjects[name] for name in count.subjects if 0 < subjects[name] < count.each
        },
        "clips_of_each_subject": count.each or None,
    }


def _is_complete(part: dict[str, Any]) -> bool:
    """Return whether a part is complete, or has no clips at all: then it was not wanted."""
    differences = ("classes", "subjects_missing", "subjects_with_fewer")
    return not part["here"] or (part["here"] == part["published"] and not any(map(part.get, differences)))


def _tallies(clips: Iterable[Clip], attribute: str) -> dict[str, dict[str, int]]:
    """Return subject or session → class → number of clips, in natural order of the names."""
    tallies: dict[str, Counter[str]] = {}
    for clip in clips:
        name = getattr(clip, attribute)
        if name is not None:
            tallies.setdefault(name, Counter())[clip.label or UNLABELLED] += 1
    return {name: dict(sorted(tallies[name].items())) for name in sorted(tallies, key=natural)}


def _grouped(items: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """Group files by reason, with problems before spare files."""
    groups: dict[tuple[bool, str], list[LeftOut]] = {}
    for item in items:
        groups.setdefault((item.spare, item.reason), []).append(item)
    return [
        {
            "reason": reason,
            "spare": spare,
            "count": len(members),
            "first": [{"path": item.path, "detail": item.detail} for item in members[:LISTED]],
        }
        for (spare, reason), members in sorted(groups.items(), key=lambda group: group[0][0])
    ]


def unusable_files(found: FoundClips, root: Path) -> list[LeftOut]:
    """Return clips whose files are empty, unreadable or Git LFS pointers."""
    items = []
    for clip in found.clips:
        problem = _media_problem(clip.path)
        if problem:
            items.append(LeftOut(below(root.absolute(), clip.path), problem))
    return items


def _media_problem(file: str) -> str:
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


def archives_and_downloads(root: Path) -> list[LeftOut]:
    """Return archives and unfinished downloads below a folder."""
    if not root.is_dir():
        return []
    files = scan(root, ARCHIVES | UNFINISHED).files
    return [
        LeftOut(str(file), "an archive, not searched", spare=True)
        if file.suffix.lower() in ARCHIVES
        else LeftOut(str(file), "an unfinished download")
        for file in files
    ]


def empty_folders(found: FoundClips, root: Path) -> list[LeftOut]:
    """Return folders without a clip beside the class folders."""
    files = ((Path(clip.path), clip.label) for clip in found.clips)
    return [
        LeftOut(folder, "a class folder without a clip")
        for folder in empty_class_folders(files, root.absolute())
    ]


def unlisted_files(found: FoundClips, tree: Tree, manifest: Path) -> list[LeftOut]:
    """Return media files of a folder that a manifest does not list."""
    folder = manifest.absolute().parent
    paths = [*(clip.path for clip in found.clips), *(item.path for item in found.left_out)]
    listed = {os.path.abspath(os.path.join(folder, path)) for path in paths}  # noqa: PTH100, PTH118
    root = os.path.abspath(tree.root)  # noqa: PTH100
    return [
        LeftOut(str(file), f"no row of {manifest.name} lists it")
        for file in tree.files
        if f"{root}/{file}" not in listed
    ]
