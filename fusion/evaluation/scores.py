"""Class scores of clips, with names of clips and classes, and their lossless CSV format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import FusionError
from ..files import write_csv
from .tables import TableRow, number, read_table

CLIP, SPLIT, TRUTH, LABEL, MARKS = "clip", "split", "truth", "label", "marks"
STATUS, GUESS = "status", "guess"
OTHER_COLUMNS = (CLIP, SPLIT, TRUTH, LABEL, STATUS, GUESS, MARKS)
OK, NO_FACE, NO_SOUND, FAILED = "ok", "no face", "no sound", "failed"
"""Status of a clip for the head that scored it. A clip without both streams is ``no face, no sound``."""
TRANSDUCTIVE = "transductive"
"""Marks scores that depend on unlabelled clips of the test set."""
SUM_TOLERANCE = 0.05  # other programs may round scores to two digits


class _RowError(FusionError):
    """An error in one clip's row."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities of each class for each clip.

    Attributes:
        clips: ``(split, id)`` of N clips, without duplicates.
        classes: C class names in column order, without duplicates.
        values: ``[N, C]`` float64, each in [0, 1], rows adding up to about 1; a row of NaN if the clip has
            nothing to score, and its status says why.
        truth: true class of each clip, or None.
        status: :data:`OK`, or what the clip lacks; empty if unknown, as in files of other programs.
        marks: caveats to show with these scores and their metrics, such as :data:`TRANSDUCTIVE`; sorted,
            without ``;``.

    Raises:
        FusionError: shapes or names do not match, or a value is not a probability.
    """

    clips: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    values: np.ndarray
    truth: tuple[str | None, ...]
    marks: tuple[str, ...] = ()
    status: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(sorted({*self.marks})))
        object.__setattr__(self, "status", self.status or ("",) * len(self.clips))
        object.__setattr__(self, "values", np.ascontiguousarray(self.values, dtype=np.float64))
        _check_classes(self.classes)
        expected = (len(self.clips), len(self.classes))
        counts = len(self.truth), len(self.status)
        if self.values.shape != expected or counts != (len(self.clips), len(self.clips)):
            raise FusionError(
                f"scores of shape {list(self.values.shape)} with {counts[0]} true classes and {counts[1]} "
                f"statuses do not fit {expected[0]} clips and {expected[1]} classes: {list(expected)} and "
                f"{expected[0]} expected"
            )
        self._check_clips()
        self._check_values()

    @property
    def scored(self) -> np.ndarray:
        """``[N]`` whether each clip has scores."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    @property
    def predicted(self) -> tuple[str, ...]:
        """The most probable class of each clip; the first in ``classes`` on a tie.

        For a clip without scores, this is a guess: the most probable class over all scored clips.
        """
        scored = self.scored
        mean = self.values[scored].mean(axis=0) if scored.any() else np.zeros(len(self.classes))
        return tuple(self.classes[i] for i in np.where(scored[:, None], self.values, mean).argmax(axis=1))

    @property
    def unscored(self) -> Scores:
        """The clips without scores."""
        return self.take(np.flatnonzero(~self.scored).tolist())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur, in order of appearance."""
        return tuple(dict.fromkeys(split for split, _ in self.clips))

    @property
    def labelled(self) -> Scores:
        """The clips with a known true class."""
        return self.take([i for i, truth in enumerate(self.truth) if truth is not None])

    def take(self, indices: Sequence[int]) -> Scores:
        """Return the clips at ``indices``, in that order."""
        return Scores(
            tuple(self.clips[i] for i in indices),
            self.classes,
            self.values[np.asarray(indices, dtype=int)],
            tuple(self.truth[i] for i in indices),
            self.marks,
            tuple(self.status[i] for i in indices),
        )

    def marked(self, *marks: str) -> Scores:
        """Return these scores with ``marks`` added."""
        return replace(self, marks=(*self.marks, *marks))

    def select(self, split: str) -> Scores:
        """Return the clips of one split.

        Raises:
            FusionError: there are none.
        """
        if split not in self.splits:
            have = ", ".join(map(repr, self.splits)) or "none at all"
            raise FusionError(f"no scores of split {split!r}; the splits are {have}")
        return self.take([i for i, clip in enumerate(self.clips) if clip[0] == split])

    def in_split(self, split: str) -> Scores:
        """Return these scores with the split of all clips set to ``split``."""
        return replace(self, clips=tuple((split, clip) for _, clip in self.clips))

    def reorder(self, classes: Sequence[str]) -> Scores:
        """Return these scores with their columns in the order of ``classes``.

        Raises:
            FusionError: ``classes`` is a different set of names.
        """
        check_same_classes(self.classes, classes)
        columns = [self.classes.index(name) for name in classes]
        return replace(self, classes=tuple(classes), values=self.values[:, columns])

    @property
    def marks_cell(self) -> str:
        """The marks as one table cell."""
        return "; ".join(self.marks)

    def write(self, path: Path) -> None:
        """Write ``clip,split,truth,status,<class>...``; :meth:`read` restores exactly the same numbers.

        A clip without scores has empty cells. Marked scores have an extra column, ``marks``, before the
        class columns.

        Raises:
            FusionError: the file cannot be written.
        """
        marks = [self.marks_cell] if self.marks else []
        header = [CLIP, SPLIT, TRUTH, STATUS, *([MARKS] if marks else []), *self.classes]
        rows = zip(self.clips, self.truth, self.status, self.cells, strict=True)
        cells = ([clip, split, truth, status, *marks, *row] for (split, clip), truth, status, row in rows)
        write_csv(path, header, cells)

    @property
    def cells(self) -> list[list[float | str]]:
        """:attr:`values` as CSV cells, empty for clips without scores."""
        return [
            row if scored else [""] * len(row)
            for row, scored in zip(self.values.tolist(), self.scored, strict=True)
        ]

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read a CSV of scores.

        Columns are found by name. ``clip`` is required; ``split`` (default: an empty string), ``truth``,
        ``status`` and ``marks`` (separated by semicolons) are optional; ``label`` and ``guess`` of a
        submission are ignored. All other columns are classes.

        Raises:
            FusionError: the file is not such a table; the message names file, row, column and remedy.
        """
        table = read_table(path, [CLIP], f"{CLIP},{SPLIT},{TRUTH},<class>,<class>...")
        classes = tuple(name for name in table.header if name not in OTHER_COLUMNS)
        rows = table.rows
        values = [_numbers(path, row, classes) for row in rows]
        try:
            return cls(
                tuple((row.cells.get(SPLIT, ""), row.cells[CLIP]) for row in rows),
                classes,
                np.array(values),
                tuple(row.cells.get(TRUTH) or None for row in rows),
                _marks(row.cells.get(MARKS, "") for row in rows),
                tuple(row.cells.get(STATUS, "") for row in rows),
            )
        except _RowError as error:
            raise FusionError(f"{path}, row {rows[error.index].number}: {error}") from error
        except FusionError as error:
            raise FusionError(f"{path}: {error}") from error

    def _check_clips(self) -> None:
        seen: set[tuple[str, str]] = set()
        for index, (clip, truth) in enumerate(zip(self.clips, self.truth, strict=True)):
            if not clip[1]:
                raise _RowError(index, f"column {CLIP!r} is empty; each row needs the id of its clip")
            if clip in seen:
                raise _RowError(index, f"clip {_name(clip)} appears a second time; keep one of its rows")
            if truth is not None and truth not in self.classes:
                raise _RowError(
                    index,
                    f"column {TRUTH!r}: {truth!r} is not one of the classes {', '.join(self.classes)}; spell "
                    "it like the column of its scores, or leave the cell empty if the class is unknown",
                )
            seen.add(clip)

    def _check_values(self) -> None:
        has_status = np.array([status not in ("", OK) for status in self.status], dtype=bool)
        empty = np.isnan(self.values).all(axis=1) & has_status
        bad = (~np.isfinite(self.values) | (self.values < 0)) & ~empty[:, None]
        for index, column in np.argwhere(bad)[:1]:
            raise _RowError(
                index,
                f"column {self.classes[column]!r}, clip {_name(self.clips[index])}: "
                f"{self.values[index, column]} is not a probability from 0 to 1 (apply softmax to logits)",
            )
        sums = self.values.sum(axis=1)
        for index in np.flatnonzero(~empty & ~(np.abs(sums - 1) <= SUM_TOLERANCE))[:1]:
            raise _RowError(
                index,
                f"the classes of clip {_name(self.clips[index])} add up to {sums[index]:g}, not to 1; "
                "divide each row by its sum (apply softmax to logits)",
            )


def joined(parts: Iterable[Scores]) -> Scores:
    """Concatenate the clips of all ``parts`` (folds, splits), with classes in the order of the first part.

    Raises:
        FusionError: the parts have different classes, or share a clip.
    """
    first, *others = parts
    aligned = [first, *(part.reorder(first.classes) for part in others)]
    return Scores(
        tuple(clip for part in aligned for clip in part.clips),
        first.classes,
        np.concatenate([part.values for part in aligned]),
        tuple(truth for part in aligned for truth in part.truth),
        tuple(mark for part in aligned for mark in part.marks),
        tuple(status for part in aligned for status in part.status),
    )


def joined_status(words: Iterable[str]) -> str:
    """Combine the statuses that several members give one clip into all that the clip lacks.

    Each member reports only on the streams it reads.
    """
    given = {word for status in words for word in status.split(", ")}
    lacking = [word for word in (NO_FACE, NO_SOUND) if word in given]
    for word in (FAILED, OK):
        if not lacking and word in given:
            return word
    return ", ".join(lacking)


def _name(clip: tuple[str, str]) -> str:
    return "/".join(filter(None, clip))


def _numbers(path: Path, row: TableRow, classes: Sequence[str]) -> list[float]:
    """Return a row's scores; all NaN if the cells are empty and the status says why."""
    empty = row.cells.get(STATUS, "") not in ("", OK) and not any(row.cells[name] for name in classes)
    return [np.nan] * len(classes) if empty else [number(path, row, name) for name in classes]


def _marks(cells: Iterable[str]) -> tuple[str, ...]:
    return tuple({mark.strip() for cell in {*cells} for mark in cell.split(";")} - {""})


def check_same_classes(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Check that two sequences hold the same class names, in any order.

    Raises:
        FusionError: they differ; the message shows both and the differences.
    """
    if sorted(ours) != sorted(theirs):
        missing = ", ".join(sorted({*theirs} - {*ours})) or "nothing"
        extra = ", ".join(sorted({*ours} - {*theirs})) or "nothing"
        raise FusionError(
            f"the classes {', '.join(ours)} are not the classes {', '.join(theirs)} "
            f"(missing: {missing}; extra: {extra}); use scores of the same classes"
        )


def _check_classes(classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise FusionError(f"{len(classes)} class columns ({', '.join(classes)}); two or more expected")
    for name in classes:
        if not name or name in OTHER_COLUMNS or classes.count(name) > 1:
            raise FusionError(
                f"{name!r} cannot be a class among {', '.join(classes)}: names are distinct, not empty and "
                f"none of {', '.join(OTHER_COLUMNS)}; rename it"
            )
