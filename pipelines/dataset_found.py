"""What was found: clips with ids that are unique in their split, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..cache.clips import Clip
from .dataset_scan import LeftOut, is_sound

if TYPE_CHECKING:
    from ..extract.markers import MarkerSpan

SPLITS = ("train", "val", "test")
ONLY_SPLIT = "all"
UNLABELLED = "unlabelled"

MOST = 0.9
"""The share of files that must fit a layout for a folder to be taken for it."""


class DatasetError(ValueError):
    """Clips that are not where they were said to be; the text says what was expected."""


class NotThisDataset(DatasetError):
    """A folder that is not laid out as the data set it was taken for."""


@dataclass(frozen=True)
class Found:
    """The clips of a folder in natural order, or of a manifest in its own; train, val, test, other splits.

    ``notes`` tell of clips that the data set's usual protocol leaves out. ``markers`` says by
    :attr:`.Clip.key` where facial markers are, for a data set of sound and markers, without pictures.
    """

    clips: list[Clip]
    dataset: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    markers: Mapping[tuple[str, str], MarkerSpan] = field(default_factory=dict)

    @property
    def problems(self) -> list[LeftOut]:
        """What was left out and should be looked at."""
        return [item for item in self.left_out if not item.spare]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Clips per split and class; those without a label count as ``"unlabelled"``."""
        tallies: dict[str, Counter[str]] = {}
        for clip in self.clips:
            tallies.setdefault(clip.split, Counter())[clip.label or UNLABELLED] += 1
        return {split: dict(sorted(tally.items())) for split, tally in tallies.items()}

    @property
    def summary(self) -> str:
        """One line: the data set, its clips per split and class, how many were left out."""
        splits = [
            f"{split} {sum(tally.values())} ({', '.join(f'{name} {n}' for name, n in tally.items())})"
            for split, tally in self.counts.items()
        ]
        tail = f"; {len(self.left_out)} left out" if self.left_out else ""
        return f"{self.dataset}: {count_of(len(self.clips), 'clip')}: {', '.join(splits)}{tail}"


def clip_at(
    root: Path, file: PurePosixPath, split: str, label: str | None = None, subject: str | None = None
) -> Clip:
    """The clip of a file below ``root``, with the file's name for an id."""
    return Clip(file.stem, split, f"{root}/{file}", label, subject)


def one_per_id(clips: Sequence[Clip], root: Path) -> tuple[list[Clip], list[LeftOut]]:
    """Keep one clip of each (split, id), a video before a sound, else the first; put the splits in order."""
    kept: dict[tuple[str, str], Clip] = {}
    left_out: list[LeftOut] = []
    for clip in sorted(clips, key=lambda clip: is_sound(clip.path)):
        first = kept.setdefault(clip.key, clip)
        if first is not clip:
            left_out.append(_twice(clip, first, root))
    unique = (clip for clip in clips if kept[clip.key] is clip)
    return sorted(unique, key=lambda clip: _split_order(clip.split)), left_out


def _twice(clip: Clip, first: Clip, root: Path) -> LeftOut:
    path, other = below(root, clip.path), below(root, first.path)
    if is_sound(path) and not is_sound(other):
        return LeftOut(path, f"the sound of '{other}', which has the same id '{clip.id}'", spare=True)
    reason = f"has the id '{clip.id}' of '{other}' in split '{clip.split}': rename one of them"
    return LeftOut(path, reason)


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def ids_from_paths(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """Where ids repeat in a split, all of that split take their path below ``root`` without its suffix."""
    times = Counter(clip.key for clip in clips)
    ambiguous = {split for (split, _), count in times.items() if count > 1}
    return [replace(clip, id=_path_id(clip, root)) if clip.split in ambiguous else clip for clip in clips]


def _path_id(clip: Clip, root: Path) -> str:
    return str(PurePosixPath(below(root, clip.path)).with_suffix("")).lstrip("/")


def below(root: Path, path: str) -> str:
    """``path`` as seen from ``root``, or as it is where it lies elsewhere."""
    return path.removeprefix(f"{root}/")


def first_names(files: Sequence[PurePosixPath]) -> str:
    """The first three of some files, for an error's text."""
    names = ", ".join(f"'{file}'" for file in files[:3])
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names


def count_of(count: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
