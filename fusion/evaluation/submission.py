"""Writes submissions: a readable CSV, and the challenge's zip with one text file per clip."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from ..errors import FusionError
from ..files import replacing, write_csv
from .scores import CLIP, GUESS, LABEL, MARKS, STATUS, Scores

UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f]|\.\.|^\.|^$')
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip; constant, so that equal scores give equal bytes


def write_submission(scores: Scores, path: Path) -> None:
    """Write ``clip,label,status,guess,<class>...``: the predicted class and the probabilities of each clip.

    ``guess`` is ``yes`` if a clip has no scores, so its label is a guess; see :attr:`.Scores.predicted`.
    Marked scores have an extra column, ``marks``.

    Raises:
        FusionError: two clips share an id, or the file cannot be written.
    """
    _check_ids(scores)
    marks = [scores.marks_cell] if scores.marks else []
    header = [CLIP, LABEL, STATUS, GUESS, *([MARKS] if marks else []), *scores.classes]
    guesses = ["" if scored else "yes" for scored in scores.scored]
    rows = zip(scores.clips, scores.predicted, scores.status, guesses, scores.cells, strict=True)
    write_csv(path, header, ([clip, *own, *marks, *row] for (_, clip), *own, row in rows))


def write_challenge_zip(scores: Scores, folder: Path, team: str) -> Path:
    """Write ``<team>.zip`` in ``folder``, with one ``<id>.txt`` per clip that holds its class name.

    Equal scores give equal bytes.

    Returns:
        Path of the zip.

    Raises:
        FusionError: an id or the team's name is not a valid file name, two clips share an id, or the file
            cannot be written.
    """
    _check_name(team, "team")
    _check_ids(scores)
    labels = {clip: label for (_, clip), label in zip(scores.clips, scores.predicted, strict=True)}
    for clip in labels:
        _check_name(clip, "clip id")
    path = folder / f"{team}.zip"
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for clip in sorted(labels):
            entry = zipfile.ZipInfo(f"{clip}.txt", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, labels[clip])
    return path


def _check_ids(scores: Scores) -> None:
    splits: dict[str, str] = {}
    for split, clip in scores.clips:
        if clip in splits:
            raise FusionError(
                f"clip id {clip!r} is in the splits {splits[clip]!r} and {split!r}, but a submission has ids "
                "only; choose the clips of one split"
            )
        splits[clip] = split


def _check_name(name: str, what: str) -> None:
    if UNSAFE.search(name):
        raise FusionError(
            f"the {what} {name!r} is not a valid file name: it is empty, starts with a dot, or contains '..' "
            'or one of / \\ : * ? " < > |; rename it'
        )
