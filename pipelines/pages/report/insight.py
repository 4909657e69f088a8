"""Attention, factors and embeddings of a run's clips, computed again from its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .clips import Film, film

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from ....fusion.evaluation.insight import Attention, Insight
    from ....fusion.training.cards import Card

Key = tuple[str, str]

MOST_CLIPS = 1000  # that members look at: a plane of them takes some seconds
MOST_MEMBERS = 10
KEEPS_NONE = {"cv": "a cross-validation", "ensemble": "an ensemble"}
NOTHING = "No pictures of clips, attention or embeddings"


@dataclass(frozen=True, eq=False)
class Seen:
    """Attention, factors and embeddings of a run's clips, for its report.

    Attributes:
        films: pictures and sound of the clips shown.
        attention: clip → stream → weights over time.
        factors: clip → adaption factor of the sound.
        planes: title → points ``[N, 2]`` of ``clips``.
        clips: those that members looked at.
        notes: what is said of all this: what is missing and why, and what was left out.
    """

    films: Mapping[Key, Film] = field(default_factory=dict)
    attention: Mapping[Key, Mapping[str, Attention]] = field(default_factory=dict)
    factors: Mapping[Key, float] = field(default_factory=dict)
    planes: Mapping[str, np.ndarray] = field(default_factory=dict)
    clips: Sequence[Key] = ()
    notes: Sequence[str] = ()


def see(
    path: Path, card: Card, given: Path | None, clips: Sequence[Key], shown: Sequence[Key], bar: tqdm
) -> Seen:
    """Look at the ``clips`` of the run at ``path``, and closely at those ``shown``.

    Args:
        path: the run's folder.
        card: its card.
        given: the store; None for that of the training, else ``features``.
        clips: those to be looked at; more than :data:`MOST_CLIPS` are thinned out evenly.
        shown: those of which pictures are wanted.
        bar: is told of each step, see :func:`steps`.
    """
    from ....cache.errors import StoreError
    from ....cache.store import FeatureStore

    place = locate(card, given)
    if place is None:
        return Seen(notes=[f"{NOTHING}: the feature store is not here; name it by --store."])
    try:
        with FeatureStore(place) as store:
            return _see(path, card, store, clips, shown, bar)
    except (StoreError, OSError) as error:
        return Seen(notes=[f"{NOTHING}: {error}"])


def locate(card: Card, given: Path | None) -> Path | None:
    """The store to read: ``given``, else that of the training, else ``features``; None where it is gone."""
    known = [Path(str(name)) for name in (card.facts.get("store"), "features") if name]
    return next((path for path in ([given] if given else known) if (path / "store.json").exists()), None)


def steps(shown: int) -> int:
    """How many a bar counts."""
    return shown + 3


def _see(
    path: Path, card: Card, store: FeatureStore, clips: Sequence[Key], shown: Sequence[Key], bar: tqdm
) -> Seen:
    from ....cache.errors import StoreError
    from ....fusion.errors import FusionError

    rows = {row.clip.key: row for row in store.rows}
    notes = []
    lost = [clip for clip in clips if clip not in rows]
    if lost:
        notes.append(
            f"{len(lost)} of {len(clips)} clips, {'/'.join(lost[0])} among them, are not in the store."
        )
    films = {}
    for clip in shown:
        if clip in rows:
            films[clip] = film(store, rows[clip])
        bar.update()
    if card.kind != "train":
        notes.append(
            f"No attention or embeddings: {KEEPS_NONE.get(card.kind, card.kind)} keeps no members; "
            "`avemo-fuse train` does."
        )
        return Seen(films, notes=notes)
    wanted, thinned = _thinned([clip for clip in clips if clip in rows], shown)
    if thinned:
        notes.append(
            f"Adaption factors and embeddings are of {len(wanted)} of {len(clips)} clips, evenly chosen."
        )
    if not wanted:
        return Seen(films, notes=notes)
    try:
        insight, members, of = _look(path, store, [rows[clip] for clip in wanted])
    except (FusionError, StoreError) as error:
        return Seen(films, notes=[*notes, f"No attention or embeddings: {error}"])
    bar.update()
    if members < of:
        notes.append(f"Attention, factors and embeddings are those of the first {members} of {of} members.")
    attention = {
        clip: {stream: own[i] for stream, own in insight.attention.items()}
        for i, clip in enumerate(wanted)
        if clip in {*shown}
    }
    factors = {}
    if insight.factors is not None:
        factors = {clip: float(insight.factors[i, 0]) for i, clip in enumerate(wanted)}
    planes, reasons = _planes(insight, bar)
    return Seen(films, attention, factors, planes, wanted, [*notes, *reasons])


def _thinned(clips: Sequence[Key], shown: Sequence[Key]) -> tuple[list[Key], bool]:
    """At most so many clips, those ``shown`` among them; and whether some were left out."""
    if len(clips) <= MOST_CLIPS:
        return list(clips), False
    always = {*shown}
    room = MOST_CLIPS - len(always)
    others = [clip for clip in clips if clip not in always]
    chosen = always | {others[i * len(others) // room] for i in range(room)}
    return [clip for clip in clips if clip in chosen], True


def _look(path: Path, store: FeatureStore, rows: Sequence[Row]) -> tuple[Insight, int, int]:
    from ....fusion.evaluation.insight import look
    from ....fusion.training.runs import Run

    run = Run(path)
    count = min(run.members, MOST_MEMBERS)
    corpus = run.read(store, rows)
    return look([run.load(number) for number in range(count)], corpus), count, run.members


def _planes(insight: Insight, bar: tqdm) -> tuple[dict[str, np.ndarray], list[str]]:
    from ....fusion.errors import FusionError
    from ....fusion.evaluation.insight import plane

    both = insight.after is not None
    one = "Attended streams side by side, before fusion" if both else "Attended streams side by side"
    planes, reasons = {}, []
    for title, values in ((one, insight.before), ("Embedding after fusion", insight.after)):
        if values is not None:
            try:
                planes[title] = plane(values)
            except FusionError as error:
                reasons.append(f"{title}: {error}.")
        bar.update()
    return planes, reasons
