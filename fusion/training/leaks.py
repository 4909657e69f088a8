"""Checks that no subject and no recording is in both training and test, wherever scores are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cache.clips import Clip
from ...cache.rows import Row
from ...cache.store import FeatureStore
from . import cards
from .duplicates import check_no_copies, content_of, copies_across, recordings
from .folds import Fold, check_disjoint, shared_subjects
from .runs import Run

SAME_SUBJECTS = "same subjects in training and test"
DUPLICATES = "duplicate recordings in training and test"
TOLERATED = 0.01
"""Share of a split's clips that may be copies of training clips.

AFEW has a few, and published results are over all its clips. Copies are reported, and results are marked.
"""


def check(
    folds: Sequence[Fold],
    store: FeatureStore,
    rows: Sequence[Row],
    same_subjects: bool,
    duplicates: bool,
    tolerated: float = 0.0,
) -> tuple[list[str], list[str]]:
    """Check that no subject and no recording is on both sides of a fold.

    Args:
        folds: folds, as indices into ``rows``.
        store: the store that holds the clips.
        rows: the clips.
        same_subjects: whether to allow subjects on both sides.
        duplicates: whether to allow recordings on both sides.
        tolerated: share of a fold's test clips that may be copies even if ``duplicates`` is false.

    Returns:
        Marks for the scores, and notes for the user.

    Raises:
        FusionError: a subject or recording is on both sides and this is not allowed.
    """
    clips = [row.clip for row in rows]
    subjects = [clip.subject for clip in clips]
    if not same_subjects:
        check_disjoint(folds, subjects)
    used = sorted({int(i) for fold in folds for i in (*fold.train, *fold.test)})
    unnamed = sum(not subjects[i] for i in used)
    notes = list(unlearnt(folds, clips))
    if unnamed:
        notes.append(
            f"{unnamed} of {len(used)} clips name no subject, so avemo cannot check whether training and "
            "test share people"
        )
    found = recordings(store, rows)
    copies = {fold.name: copies_across(fold, found) for fold in folds}
    for fold in folds:
        across = copies[fold.name]
        if across and not duplicates and len(across) > tolerated * len(fold.test):
            check_no_copies([fold], found, [str(clip) for clip in clips])
        if across and tolerated:
            first, second, recording = across[0]
            notes.append(
                f"copies of {_clips(len(across))} of {fold.name} are in the training set "
                f"({clips[second]}: {clips[first]}, {recording.seen}); results are marked"
            )
    marks = [SAME_SUBJECTS] if shared_subjects(folds, subjects) else []
    return marks + ([DUPLICATES] if any(copies.values()) else []), notes


def known_to(runs: Sequence[Run], rows: Sequence[Row], store: Path) -> set[tuple[str, str]]:
    """Return the labelled clips that any of ``runs`` was trained on, recognised by file content.

    Runs of earlier versions did not record their files. For these, all labelled clips of the fitted splits
    count, if ``store`` is the one they were trained on.
    """

    known: set[tuple[str, str]] = set()
    for run in runs:
        card = cards.read(run.path)
        same_store = str(store.absolute()) == card.facts.get("store")
        splits = card.settings["fit_on"].split("+") if same_store and run.fitted is None else []
        if splits and len(card.facts.get("clips", ())) == 1:
            splits = list(card.facts["clips"])  # a single split is fitted, whatever its name
        for row in rows:
            if row.clip.label and (content_of(row) in (run.fitted or ()) or row.clip.split in splits):
                known.add(row.clip.key)
    return known


def unlearnt(folds: Sequence[Fold], clips: Sequence[Clip]) -> Iterator[str]:
    """Yield a note for each class that a fold tests on but has no training clips of."""
    for fold in folds:
        trained = {clips[i].label for i in fold.train}
        lacking = Counter(str(clips[i].label) for i in fold.test if clips[i].label not in trained | {None})
        for name, count in sorted(lacking.items()):
            yield (
                f"fold {fold.name} has no training clips of {name}: its {_clips(count)} of that class "
                "cannot be recognised, and will count as wrong"
            )


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"
