"""Imports features made elsewhere into a store, as the ``basic`` statistic of a backbone of their own.

The stream ``NAME/none`` of a clip holds ``basic`` ``[T, D]`` float32 and, if known, ``times`` ``[T]`` in
seconds. A row of NaN marks a frame without a vector (for example without a face); it is stored as given, and
ignored when the feature is read. The key's settings contain ``imported``; the outcome's info has the array's
name and SHA-256.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .arrays import Arrays
from .clips import Clip
from .errors import StoreError
from .keys import FeatureKey
from .order import natural
from .rows import Entry, Row
from .shards import checksum
from .store import FeatureStore
from .writer import Outcome, StoreWriter

SAME, ANY, ONE = "same", "any", "one"
FRAMES = (SAME, ANY, ONE)
NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
SPLITS = ("train", "val", "test")


@dataclass
class Matches:
    """Arrays matched to clips.

    Attributes:
        clips: array name → clip.
        unknown: names of arrays without a clip.
        refused: array name → why it cannot be assigned to one clip.
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, candidates: Sequence[Clip]) -> None:
        """Match ``name`` to the only one of ``candidates``, or record it as unknown or refused."""
        if not candidates:
            self.unknown.append(name)
        elif len(candidates) > 1:
            self.refused[name] = (
                f"matches {' or '.join(map(str, candidates))}: put it into a folder (or group) named after "
                "the split, or use a --map with a column split"
            )
        else:
            self.clips[name] = candidates[0]

    def without_duplicates(self) -> Matches:
        """Refuse arrays that share a clip, and return self."""
        names = defaultdict(list)
        for name, clip in self.clips.items():
            names[clip.key].append(name)
        for (split, id_), duplicates in names.items():
            for name in duplicates if len(duplicates) > 1 else ():
                del self.clips[name]
                self.refused[name] = (
                    f"{' and '.join(duplicates)} all match {split}/{id_}: leave out all but one, or assign "
                    "them by a --map"
                )
        return self


def match(names: Iterable[str], clips: Sequence[Clip]) -> Matches:
    """Match arrays to clips by name.

    A name is a clip's id, or ends with it after some folders (groups). A folder named after a split restricts
    the match to that split. If an id is a path, its last part is enough for a name without other folders.
    """
    by_id, by_last = _by_id(clips), _by_last_part(clips)
    splits = {split.casefold() for split in (*SPLITS, *(clip.split for clip in clips))}
    matched = Matches()
    for name in names:
        parts = name.split("/")
        ends = (("/".join(parts[i:]), parts[:i]) for i in range(len(parts)))
        found = next(((by_id[end], folders) for end, folders in ends if end in by_id), None)
        if found is None:
            only_splits = all(folder.casefold() in splits for folder in parts[:-1])
            found = (by_last.get(parts[-1], []) if only_splits else [], parts[:-1])
        named = splits.intersection(folder.casefold() for folder in found[1])
        matched.add(name, [clip for clip in found[0] if not named or clip.split.casefold() in named])
    return matched.without_duplicates()


def match_by_map(
    names: Sequence[str], wanted: Mapping[str, Clip], clips: Sequence[Clip], new_in: str = ""
) -> Matches:
    """Match arrays to clips by a map.

    Args:
        names: names of the arrays.
        wanted: array name → clip, with an empty split if unknown.
        clips: clips in the store.
        new_in: default split for clips that are not in the store; if empty, such clips are not imported.
    """
    by_id = {**_by_last_part(clips), **_by_id(clips)}
    by_key = {clip.key: clip for clip in clips}
    matched = Matches()
    for name in names:
        clip = wanted.get(name)
        if clip is None:
            matched.unknown.append(name)
            continue
        stored = [by_key[clip.key]] if clip.key in by_key else [] if clip.split else by_id.get(clip.id, [])
        new = [replace(clip, split=clip.split or new_in)] if new_in else []
        matched.add(name, stored or new)
    absent = wanted.keys() - set(names)
    matched.refused |= dict.fromkeys(absent, "the map names it, but there is no such array")
    return matched.without_duplicates()


@dataclass(frozen=True)
class ImportOutcome:
    """The outcome of importing one array.

    Attributes:
        name: name of the array.
        clip: the clip it belongs to.
        stored: whether it was stored now; false if it was stored before or cannot be used.
        empty: whether all its rows are NaN.
        failure: why it cannot be used, or the empty string.
    """

    name: str
    clip: Clip
    stored: bool = False
    empty: bool = False
    failure: str = ""


class Import:
    """An import of arrays into a store.

    Args:
        store: store to add to.
        arrays: arrays to import.
        matched: the clip of each array.
        name: label of the backbone.
        frames: expected number of vectors per clip. ``same``: one per stored frame, if frames are stored;
            ``any``: any number; ``one``: one, which may have shape ``[D]``.
        fps: vectors per second. If None, times are those of the stored frames if the counts agree, else
            spread evenly from the first to the last of these; unknown without stored frames.
        note: description of how the features were made; None keeps the stored one, if any.
        replace: overwrite features stored under the same name.

    Raises:
        StoreError: the name is invalid or already used for other features, or no array can be used.

    Attributes:
        key: key of the stream.
        dropped: clips whose features with another key are removed from the store.
        lacking: clips of the store without an array.
    """

    def __init__(
        self,
        store: FeatureStore,
        arrays: Arrays,
        matched: Matches,
        name: str,
        frames: str = SAME,
        fps: float | None = None,
        note: str | None = None,
        replace: bool = False,
    ) -> None:
        if not re.fullmatch(NAME, name):
            raise StoreError(
                f"{name!r} cannot name a backbone; letters, digits and . _ + - are expected, a letter or "
                "digit first"
            )
        self._store, self._arrays, self._clips = store, arrays, matched.clips
        self._frames, self._fps, self._replace = frames, fps, replace
        self.stream = f"{name}/none"
        self._check_free(name)
        self.key = self._key(name, note)
        stored_rows = [row for row in store if self.stream in row.entries]
        self.dropped = [row.clip for row in stored_rows if row.entries[self.stream].key != self.key]
        imported_keys = {clip.key for clip in matched.clips.values()}
        self.lacking = [row.clip for row in store if row.clip.key not in imported_keys]

    @property
    def dimensions(self) -> int:
        """Length D of each vector."""
        return int(self.key.settings["dimensions"])

    def __iter__(self) -> Iterator[ImportOutcome]:
        """Import the arrays, yielding the outcome of each. Leaving early keeps everything stored so far."""
        with self._store.writer() as writer:
            for clip in self.dropped:
                writer.drop(clip, [self.stream])
            for name in sorted(self._clips, key=natural):
                yield self._import_array(writer, name, self._clips[name])

    def _import_array(self, writer: StoreWriter, name: str, clip: Clip) -> ImportOutcome:
        row = self._store.row(clip) or Row(clip)
        entry = row.entries.get(self.stream)
        if entry and (entry.key != self.key or entry.status == "failed"):
            entry = None
        try:
            array, sha256 = self._arrays.read(name)
            outcome = self._outcome(array, row)
            if entry and _is_same(entry, outcome):
                return ImportOutcome(name, clip, empty=not outcome.arrays)
            if entry and not self._replace:
                raise StoreError("differs from the stored values; --replace overwrites them")
        except StoreError as error:
            if entry is None:
                writer.add(clip, None, {self.stream: Outcome(self.key, "failed", str(error), {"file": name})})
            return ImportOutcome(name, clip, failure=str(error))
        outcome.info = {"file": name, "sha256": sha256}
        writer.add(clip, None, {self.stream: outcome})
        return ImportOutcome(name, clip, stored=True, empty=not outcome.arrays)

    def _outcome(self, array: np.ndarray, row: Row) -> Outcome:
        array = self._as_rows(array, row)
        with np.errstate(over="ignore"):  # reported below
            values = np.ascontiguousarray(array, dtype=np.float32)
        missing = np.isnan(values).all(axis=1)
        (broken,) = np.nonzero(~np.isfinite(values).all(axis=1) & ~missing)
        if len(broken):
            raise StoreError(
                f"frame {broken[0]} has values that are not finite (one of {len(broken)} such frames); a "
                "frame without a vector is NaN throughout"
            )
        if missing.all():
            return Outcome(self.key, "absent", f"no vector in any of {len(values)} frames")
        times = self._times(len(values), row)
        return Outcome(self.key, arrays={"basic": values} | ({} if times is None else {"times": times}))

    def _as_rows(self, array: np.ndarray, row: Row) -> np.ndarray:
        """Check an array and return it as ``[T, D]``."""
        dimensions = self._dimensions_of(array.shape)
        if dimensions != self.dimensions:
            raise StoreError(f"has {dimensions} values per frame, but most arrays have {self.dimensions}")
        array = array.reshape(-1, dimensions)
        times = self._frame_times(row)
        if self._frames == ONE and len(array) != 1:
            raise StoreError(f"has {len(array)} vectors, but --vectors one expects one per clip")
        if self._frames == SAME and times is not None and len(times) != len(array):
            raise StoreError(
                f"has {len(array)} frames, but the store has {len(times)} of this clip; for features at "
                "another rate, use --vectors any"
            )
        return array

    def _times(self, count: int, row: Row) -> np.ndarray | None:
        """Return ``[T]`` seconds, or None if unknown."""
        if self._fps:
            return np.arange(count) / self._fps
        times = self._frame_times(row)
        if times is None or not len(times) or count == len(times):
            return times
        return np.linspace(times[0], times[-1], 2 * count + 1)[1::2]  # the centres of equal parts

    def _frame_times(self, row: Row) -> np.ndarray | None:
        return self._store.read(row, "faces", ["times"])["times"] if row.has("faces") else None

    def _check_free(self, name: str) -> None:
        for row in self._store:
            for stream, entry in row.entries.items():
                if stream.rpartition("/")[0] == name and not entry.key.settings.get("imported"):
                    raise StoreError(
                        f"{self._store.path} holds {stream}, which was extracted; give the imported features "
                        "another --name"
                    )

    def _key(self, name: str, note: str | None) -> FeatureKey:
        """Return the stored key, or a new one."""
        stored = [entry.key for entry in self._entries()]
        if note is None:
            note = stored[0].settings["note"] if stored else ""
        settings = {
            "imported": True,
            "backbone": name,
            "dimensions": self._most_common_dimensions(),
            "fps": self._fps,
            "note": note,
        }
        key = FeatureKey(self.stream, settings)
        differences = next((other.differences(key) for other in stored if other != key), None)
        if differences and not self._replace:
            raise StoreError(
                f"{self._store.path} already holds other {self.stream} ({'; '.join(differences)}: stored / "
                "new); give the new features another --name, or --replace the stored ones"
            )
        return key

    def _most_common_dimensions(self) -> int:
        """Return the most common vector length among the arrays."""
        counts: Counter[int] = Counter()
        problems = []
        for name in self._clips:
            try:
                counts[self._dimensions_of(self._arrays.shape(name))] += 1
            except StoreError as error:
                problems.append(f"{name} {error}")
        if not counts:
            raise StoreError(f"no array in {self._arrays.path} can be used; {problems[0]}")
        return counts.most_common(1)[0][0]

    def _dimensions_of(self, shape: tuple[int, ...]) -> int:
        """Return D of an array ``[T, D]``, or of ``[D]`` if one vector per clip is expected."""
        if len(shape) not in ((1, 2) if self._frames == ONE else (2,)) or not shape[-1]:
            hint = "; for one vector [values] per clip, use --vectors one" if len(shape) == 1 else ""
            raise StoreError(f"has shape {list(shape)}, expected [frames, values]{hint}")
        return shape[-1]

    def _entries(self) -> list[Entry]:
        return [row.entries[self.stream] for row in self._store if self.stream in row.entries]


def _is_same(entry: Entry, outcome: Outcome) -> bool:
    stored = {name: ref.checksum for name, ref in entry.arrays.items()}
    return stored == {name: checksum(array) for name, array in outcome.arrays.items()}


def _by_last_part(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Clips by the last part of their id, which may be a path."""
    found = defaultdict(list)
    for clip in clips:
        found[clip.id.rpartition("/")[2]].append(clip)
    return dict(found)


def _by_id(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    found = defaultdict(list)
    for clip in clips:
        found[clip.id].append(clip)
    return dict(found)
