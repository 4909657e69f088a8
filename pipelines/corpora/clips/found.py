"""Result of a search for clips: clips with ids that are unique in their split, and files left out."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ....cache.clips import Clip
from .scan import LeftOut, is_sound
from .twins import same_length, same_recording

if TYPE_CHECKING:
    from ....extract.markers import MarkerSpan

SPLITS = ("train", "val", "test")
ONLY_SPLIT = "all"
UNLABELLED = "unlabelled"

FITTING_SHARE = 0.9
"""Share of files that must fit a layout for it to be recognised."""

WHOLE, PICTURE, SOUND = "whole", "picture only", "sound only"
CONTENTS = (WHOLE, PICTURE, SOUND)
"""Content of a file relative to its recording, best first: of several files, the best one is used."""


@dataclass(frozen=True)
class FoundClips:
    """Clips found in a folder, in natural order, or in a manifest, in its order.

    Attributes:
        clips: the clips, sorted by split: train, val, test, then others.
        dataset: name of the data set for people.
        left_out: files and folders not used.
        notes: remarks about clips left out by the data set's usual protocol, or relabelled.
        markers: :attr:`.Clip.key` → facial markers, for a data set with sound and markers but no pictures.
        name: name of the data set for ``--dataset``, or empty.
        files_named: whether the user named the files themselves rather than a folder.
    """

    clips: list[Clip]
    dataset: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    markers: Mapping[tuple[str, str], MarkerSpan] = field(default_factory=dict)
    name: str = ""
    files_named: bool = False

    @property
    def problems(self) -> list[LeftOut]:
        """Files left out that the user should check."""
        return [item for item in self.left_out if not item.spare]

    def part(self, number: int, count: int) -> FoundClips:
        """Return every ``count``-th clip from the ``number``-th (from 1), so that long and short ones mix.

        Only the first part lists the files left out.
        """
        clips = self.clips[number - 1 :: count]
        markers = {clip.key: self.markers[clip.key] for clip in clips if clip.key in self.markers}
        return replace(self, clips=clips, markers=markers, left_out=self.left_out if number == 1 else [])

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Split → class → number of clips; clips without a label count as ``"unlabelled"``."""
        tallies: dict[str, Counter[str]] = {}
        for clip in self.clips:
            tallies.setdefault(clip.split, Counter())[clip.label or UNLABELLED] += 1
        return {split: dict(sorted(tally.items())) for split, tally in tallies.items()}


def clip_at(
    root: Path, file: PurePosixPath, split: str, label: str | None = None, subject: str | None = None
) -> Clip:
    """Return the clip of a file below ``root``, with the file's stem as id.

    For data sets with unique file names within a split; others use :func:`path_id`.
    """
    return Clip(file.stem, split, f"{root}/{file}", label, subject)


def path_id(path: PurePosixPath) -> str:
    """Return a clip's id: its path without the suffix and without ``..``.

    The id depends on nothing else. If it depended on other files in the folder, it would change with them,
    and a store would add the same clips again under new ids.
    """
    normal = PurePosixPath(posixpath.normpath(path.with_suffix("")))
    return "/".join(part for part in normal.parts if part not in ("/", ".."))


class Copy(NamedTuple):
    """One of possibly several files of a recording.

    Attributes:
        clip: clip made from the file.
        recording: identity of the recording within its split.
        content: content of the file, one of :data:`CONTENTS`.
        corrected: whether the file replaces a faulty one.
    """

    clip: Clip
    recording: Hashable
    content: str
    corrected: bool = False


def content_of(path: str) -> str:
    """Return the content of a file, judged by its suffix."""
    return SOUND if is_sound(path) else WHOLE


def one_per_id(clips: Iterable[Clip], root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Keep one clip of each (split, id); see :func:`one_per_recording`."""
    return one_per_recording([Copy(clip, clip.id, content_of(clip.path)) for clip in clips], root)


def one_per_recording(copies: Sequence[Copy], root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Keep one clip per recording: a corrected one, else the most complete, else the first. Sort by split.

    Returns:
        Clips kept, and files left out with the reason.
    """
    kept: dict[tuple[str, Hashable], Copy] = {}
    left_out: list[LeftOut] = []
    for copy in sorted(copies, key=lambda copy: (not copy.corrected, CONTENTS.index(copy.content))):
        best = kept.setdefault((copy.clip.split, copy.recording), copy)
        if best is not copy:
            left_out.append(_left_out_entry(copy, best, root))
    clips = (copy.clip for copy in copies if kept[copy.clip.split, copy.recording] is copy)
    return sorted(clips, key=lambda clip: _split_order(clip.split)), left_out


def _left_out_entry(copy: Copy, best: Copy, root: Path) -> LeftOut:
    path, other = below(root, copy.clip.path), f"'{below(root, best.clip.path)}'"
    if best.corrected and not copy.corrected:
        return LeftOut(path, "is faulty; the corrected recording is used", True, other)
    same_name_only = copy.recording == copy.clip.id  # the name is all that is known of them
    if copy.content == SOUND and same_name_only and same_length(copy.clip.path, best.clip.path) is False:
        reason = "sound only, and not as long as the recording of the same name: rename one of them"
        return LeftOut(path, reason, detail=other)
    if copy.content != best.content and best.content == WHOLE:
        return LeftOut(path, f"{copy.content}; the whole recording is used", True, other)
    if copy.content != best.content:
        reason = f"{copy.content}; its pictures are in another file, which is used: get the whole recording"
        return LeftOut(path, reason, detail=other)
    if copy.clip.label == best.clip.label and same_recording(copy.clip.path, best.clip.path):
        return LeftOut(path, "a copy of a file that is used", True, other)
    reason = "has the same name as a file that is used: rename one of them"
    return LeftOut(
        path, reason, detail=f"{other} has the id '{best.clip.id}' in split '{best.clip.split}' too"
    )


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def below(root: Path, path: str) -> str:
    """Return ``path`` relative to ``root``, or unchanged if it is elsewhere."""
    return path.removeprefix(f"{root}/")


def first_names(files: Sequence[PurePath]) -> str:
    """Return the first three file names, for an error message."""
    return first_of([f"'{file}'" for file in files])


def first_of(items: Sequence[object], count: int = 3) -> str:
    """Format a list as ``a, b, c and 5 more``."""
    rest = len(items) - count
    return ", ".join(map(str, items[:count])) + (f" and {rest} more" if rest > 0 else "")


def counts_of(classes: Mapping[str, int]) -> str:
    """Format counts as ``Angry 28, Sad 27``, sorted by name."""
    return ", ".join(f"{name} {classes[name]}" for name in sorted(classes))


def count_of(count: int, noun: str) -> str:
    """Format a count as ``1 clip`` or ``2 clips``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
