"""Splits recordings into training and held-out parts without common speakers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from .errors import PretrainError
from .labelled import PackedSpeech
from .split import fitted_and_held_out

_NOUN = "recording"


def split_by_speaker(
    packed: PackedSpeech, share: float, seed: int, chosen: Collection[str] = (), allow_unnamed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training recordings, and of the held-out ones.

    The recordings of the ``chosen`` subjects are held out; if none are chosen, the data set's own ``val``
    part; if it has none, about ``share`` of the training part, but at least one subject, drawn by ``seed``
    and stratified by class. ``test`` recordings are in neither.

    Args:
        packed: recordings.
        share: share to draw, 0 to 0.5; with 0, none are drawn.
        seed: seed of the draw.
        chosen: subjects to hold out.
        allow_unnamed: whether to draw even if recordings do not name their speakers.

    Raises:
        PretrainError: subjects are not named, or are on both sides; there is only one; a part would be
            empty, or a class has no training recording.
    """
    if chosen:
        held_out = np.isin(packed.subjects, of_subjects(packed, chosen))
        parts = np.where(packed.parts == "test", "test", np.where(held_out, "val", "train"))
        packed = replace(packed, parts=parts)
    elif share > 0 and not (packed.parts == "val").any():
        share = _of_whole_groups(packed, share, allow_unnamed)
    train_rows, held_out_rows = fitted_and_held_out(packed, share, seed, _NOUN)
    both = sorted({*packed.subjects[train_rows].tolist()} & {*packed.subjects[held_out_rows].tolist()} - {""})
    if both:
        raise PretrainError(
            f"subject {both[0]!r} speaks in the training part and in the held-out part, as the data set "
            f"divides them: correct its parts, or name whom to hold out (--held-out-subjects {both[0]})"
        )
    return train_rows, held_out_rows


def of_subjects(packed: PackedSpeech, chosen: Collection[str]) -> list[str]:
    """Return the ``chosen`` subjects; raise :class:`PretrainError` if one of them is in no recording."""
    there = sorted({*packed.subjects.tolist()} - {""})
    for subject in chosen:
        if subject not in there:
            names = ", ".join(there) or "none are named"
            raise PretrainError(f"no recording is of subject {subject!r}; subjects: {names}")
    return list(chosen)


def to_evaluate(packed: PackedSpeech, chosen: Collection[str]) -> tuple[np.ndarray, str]:
    """Return the indices of the recordings to evaluate a network on, and a name for them.

    These are the recordings of the ``chosen`` subjects, else the first part that exists of ``test``, ``val``,
    none and ``train``.

    Raises:
        PretrainError: a subject is in no recording.
    """
    if chosen:
        return np.flatnonzero(np.isin(packed.subjects, of_subjects(packed, chosen))), ", ".join(chosen)
    part = next(part for part in ("test", "val", "", "train") if (packed.parts == part).any())
    return np.flatnonzero(packed.parts == part), part


def _of_whole_groups(packed: PackedSpeech, share: float, allow_unnamed: bool) -> float:
    """Return ``share``, or the share of one group if that is larger."""
    rows = packed.parts != "test"
    unnamed = int((packed.subjects[rows] == "").sum())
    if unnamed and not allow_unnamed:
        raise PretrainError(
            f"{unnamed} of {rows.sum()} recordings do not say who speaks, so one voice could be trained on "
            "and held out: name subjects (by a pattern, or a manifest with a column subject), or take "
            "the risk (--no-subjects), or hold nothing out (--held-out 0)"
        )
    groups = len(np.unique(packed.groups[rows]))
    if groups < 2:
        raise PretrainError(
            f"all {rows.sum()} recordings are of one subject, so nobody can be held out: add others, or "
            "train on all (--held-out 0)"
        )
    return max(share, 1 / groups)
