"""Notes to show beside scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..corpora.clips.found import count_of
from ..demo.set import DEMO_NOTE, is_demo

if TYPE_CHECKING:
    from ...cache.rows import Row
    from ...fusion.evaluation.scores import Scores


def with_faces(scores: Scores, rows: Sequence[Row]) -> Scores | None:
    """Select the labelled clips in which a face was found; None if that is all of them, or none."""
    faces = {row.clip.key for row in rows if row.has_face}
    labelled = scores.labelled
    chosen = [i for i, clip in enumerate(labelled.clips) if clip in faces]
    return labelled.take(chosen) if 0 < len(chosen) < len(labelled.clips) else None


def unscored_note(scores: Scores) -> str | None:
    """Return a note on clips without scores of their own; None if there are none."""
    without = scores.unscored
    if not without.clips:
        return None
    counts = ", ".join(f"{count} {status}" for status, count in Counter(without.status).items())
    names = ", ".join("/".join(clip) for clip in without.clips[:3])
    names += f" and {len(without.clips) - 3} more" if len(without.clips) > 3 else ""
    guess = scores.predicted[scores.scored.tolist().index(False)]
    return (
        f"note: {count_of(len(without.clips), 'clip')} without scores ({counts}): {names}; counted as "
        f"{guess}, a guess: the most probable class over the others"
    )


def demo_note(rows: Sequence[Row]) -> str | None:
    """Return the note that goes with every score on the demo set; None for other clips."""
    folders = {Path(row.clip.path).parent for row in rows if row.clip.path}
    return DEMO_NOTE if any(is_demo(folder) for folder in folders) else None
