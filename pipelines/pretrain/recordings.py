"""From a folder or a manifest to labelled recordings of speech, and what of it cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...cache.clips import Clip
from ...pretrain.errors import PretrainError
from ...pretrain.pictures import Skipped
from ...pretrain.recordings import Recording, RecordingSet
from ..corpora.clips.find import find_clips
from ..corpora.clips.folders import empty_class_folders
from ..corpora.clips.found import ONLY_SPLIT, SPLITS, below, count_of
from ..corpora.clips.schemes import SCHEMES
from ..corpora.pictures.found import class_names

LAYOUTS = ("auto", *(name for name in SCHEMES if name != "flat"))
"""Of folders; a CSV is a manifest."""

_TITLES = tuple(scheme.title for scheme in SCHEMES.values() if scheme.pattern or scheme.name == "afew")


def find_recordings(
    path: Path,
    layout: str = "auto",
    *,
    subject_pattern: str = "",
    rename: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
) -> RecordingSet:
    """Find the labelled recordings in a folder, or those that a manifest lists.

    Args:
        path: a folder, or a CSV as ``avemo-extract --manifest`` takes it.
        layout: one of :data:`LAYOUTS`; ``auto`` takes the first that fits.
        subject_pattern: where in a recording's path below the folder its subject is named: a regular
            expression, whose first group counts if it has one.
        rename: class as found → as wanted.
        without: classes, as wanted, that are left out.

    Raises:
        DatasetError: there is nothing, or no manifest that can be read.
        PretrainError: nothing is labelled; a name or the pattern is wrong; a recording does not match it.
    """
    if layout not in LAYOUTS:
        raise PretrainError(f"no layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    listed = path.is_file() and path.suffix.lower() == ".csv"
    found = find_clips(path, layout, path if listed else None)
    root = (path.parent if listed else path).absolute()
    clips = [clip for clip in found.clips if clip.label]
    if not clips:
        raise PretrainError(_nothing_labelled(path))
    if subject_pattern:
        clips = _with_subjects(clips, root, subject_pattern)
    dropped = set(without)
    dataset = found.dataset if found.dataset in _TITLES else path.resolve().stem
    wanted, classes = class_names(dataset, (str(clip.label) for clip in clips), rename or {}, dropped)
    recordings = tuple(
        _recording(clip, root, wanted) for clip in clips if wanted[str(clip.label)] not in dropped
    )
    unlabelled = len(found.clips) - len(clips)
    notes = [*found.notes]
    if unlabelled:
        notes.append(f"{count_of(unlabelled, 'recording')} without a label left out")
    if dropped:
        count = count_of(len(clips) - len(recordings), "recording")
        notes.append(f"{count} of {', '.join(sorted(dropped))} left out, as asked")
    skipped = [Skipped(item.path, item.why) for item in found.problems]
    skipped += [
        Skipped(folder, "a class folder without any recording")
        for folder in empty_class_folders(((Path(clip.path), clip.label) for clip in found.clips), root)
    ]
    return RecordingSet(dataset, classes, recordings, tuple(skipped), tuple(notes))


def _recording(clip: Clip, root: Path, wanted: Mapping[str, str]) -> Recording:
    if clip.split not in (ONLY_SPLIT, *SPLITS):
        raise PretrainError(
            f"{below(root, clip.path)} is of split {clip.split!r}: expected {', '.join(SPLITS)} or none"
        )
    part = "" if clip.split == ONLY_SPLIT else clip.split
    name = below(root, clip.path)
    return Recording(name, Path(clip.path), wanted[str(clip.label)], part, clip.subject or "")


def _with_subjects(clips: Sequence[Clip], root: Path, pattern: str) -> list[Clip]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PretrainError(f"{pattern!r} is no regular expression: {error}") from error
    named = []
    for clip in clips:
        match = compiled.search(below(root, clip.path))
        subject = match and match[1 if compiled.groups else 0]
        if not subject:
            raise PretrainError(f"{pattern!r} finds no subject in {below(root, clip.path)!r}")
        named.append(replace(clip, subject=subject))
    return named


def _nothing_labelled(path: Path) -> str:
    layouts = "\n".join(f"  {name}: {SCHEMES[name].example}" for name in LAYOUTS[1:])
    return (
        f"no recording in '{path}' has a label. Expected a CSV with the columns path and label, or a folder "
        f"laid out as one of\n{layouts}"
    )
