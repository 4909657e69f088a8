"""The clips found, with ids that are unique in their split, and the files left out."""

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

MOST = 0.9
"""The share of files that must fit a layout for a folder to be taken for it."""

WHOLE, PICTURE, SOUND = "whole", "picture only", "sound only"
HOLDS = (WHOLE, PICTURE, SOUND)
"""What a file may hold of its recording; where a recording has several, the first of these is taken."""


@dataclass(frozen=True)
class FoundClips:
    """The clips of a folder in natural order, or of a manifest in its own; train, val, test, other splits.

    ``dataset`` is what people call it, ``name`` what ``--dataset`` does, if it has such a name. ``notes``
    tell of clips that the data set's usual protocol leaves out. ``markers`` says by :attr:`.Clip.key` where
    facial markers are, for a data set of sound and markers, without pictures. ``one_by_one`` tells that the
    files themselves were named, not a folder that says how they are called.
    """

    clips: list[Clip]
    dataset: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    markers: Mapping[tuple[str, str], MarkerSpan] = field(default_factory=dict)
    name: str = ""
    one_by_one: bool = False

    @property
    def problems(self) -> list[LeftOut]:
        """What was left out and should be looked at."""
        return [item for item in self.left_out if not item.spare]

    def part(self, number: int, count: int) -> FoundClips:
        """Every ``count``-th clip from the ``number``-th on (from 1), so that long and short ones mix.

        What was left out is told by the first part alone.
        """
        clips = self.clips[number - 1 :: count]
        markers = {clip.key: self.markers[clip.key] for clip in clips if clip.key in self.markers}
        return replace(self, clips=clips, markers=markers, left_out=self.left_out if number == 1 else [])

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Clips per split and class; those without a label count as ``"unlabelled"``."""
        tallies: dict[str, Counter[str]] = {}
        for clip in self.clips:
            tallies.setdefault(clip.split, Counter())[clip.label or UNLABELLED] += 1
        return {split: dict(sorted(tally.items())) for split, tally in tallies.items()}


def clip_at(
    root: Path, file: PurePosixPath, split: str, label: str | None = None, subject: str | None = None
) -> Clip:
    """The clip of a file below ``root``, with the file's name for an id.

    For data sets whose names are unique within a split; others take :func:`path_id`.
    """
    return Clip(file.stem, split, f"{root}/{file}", label, subject)


def path_id(path: PurePosixPath) -> str:
    """The id of a clip by its own path, without the suffix.

    Nothing else may decide it: an id that depended on the other files of a folder would change with them,
    and a store would take the same clips in again under their new ids. What leads out of a folder (``..``)
    is left out.
    """
    whole = PurePosixPath(posixpath.normpath(path.with_suffix("")))
    return "/".join(part for part in whole.parts if part not in ("/", ".."))


class Copy(NamedTuple):
    """A clip, which recording of its split it is, and what of that its file holds (:data:`HOLDS`).

    A ``corrected`` one is taken in place of others.
    """

    clip: Clip
    recording: Hashable
    holds: str
    corrected: bool = False


def holds(path: str) -> str:
    """What a file holds by its suffix."""
    return SOUND if is_sound(path) else WHOLE


def one_per_id(clips: Iterable[Clip], root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Keep one clip of each (split, id); see :func:`one_per_recording`."""
    return one_per_recording([Copy(clip, clip.id, holds(clip.path)) for clip in clips], root)


def one_per_recording(copies: Sequence[Copy], root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Keep one clip of each recording, a corrected one or else the one that holds most of it, else the
    first; order the splits."""
    kept: dict[tuple[str, Hashable], Copy] = {}
    left_out: list[LeftOut] = []
    for copy in sorted(copies, key=lambda copy: (not copy.corrected, HOLDS.index(copy.holds))):
        best = kept.setdefault((copy.clip.split, copy.recording), copy)
        if best is not copy:
            left_out.append(_why_not(copy, best, root))
    clips = (copy.clip for copy in copies if kept[copy.clip.split, copy.recording] is copy)
    return sorted(clips, key=lambda clip: _split_order(clip.split)), left_out


def _why_not(copy: Copy, best: Copy, root: Path) -> LeftOut:
    path, other = below(root, copy.clip.path), f"'{below(root, best.clip.path)}'"
    if best.corrected and not copy.corrected:
        return LeftOut(path, "is faulty, and the corrected recording is there", True, other)
    named_alike = copy.recording == copy.clip.id  # which is all that is known of them
    if copy.holds == SOUND and named_alike and same_length(copy.clip.path, best.clip.path) is False:
        reason = "sound only, of another length than the recording of its name: rename one of them"
        return LeftOut(path, reason, detail=other)
    if copy.holds != best.holds and best.holds == WHOLE:
        return LeftOut(path, f"{copy.holds}, and the whole recording is there", True, other)
    if copy.holds != best.holds:
        reason = f"{copy.holds}, apart from its pictures, which are used: get the whole recording"
        return LeftOut(path, reason, detail=other)
    if copy.clip.label == best.clip.label and same_recording(copy.clip.path, best.clip.path):
        return LeftOut(path, "a copy of a file that is used", True, other)
    reason = "is called as another file that is used: rename one of them"
    return LeftOut(
        path, reason, detail=f"{other} has the id '{best.clip.id}' in split '{best.clip.split}' too"
    )


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def below(root: Path, path: str) -> str:
    """``path`` as seen from ``root``, or as it is where it lies elsewhere."""
    return path.removeprefix(f"{root}/")


def first_names(files: Sequence[PurePath]) -> str:
    """The first three of some files, for an error's text."""
    return first_of([f"'{file}'" for file in files])


def first_of(items: Sequence[object], count: int = 3) -> str:
    """``a, b, c and 5 more``."""
    rest = len(items) - count
    return ", ".join(map(str, items[:count])) + (f" and {rest} more" if rest > 0 else "")


def counts_of(classes: Mapping[str, int]) -> str:
    """``Angry 28, Sad 27``, in the order of the names."""
    return ", ".join(f"{name} {classes[name]}" for name in sorted(classes))


def count_of(count: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
