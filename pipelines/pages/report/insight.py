"""Attention, adaption factors and embeddings of a run's clips, recomputed from its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .clips import FilmStrip, pictures_of

if TYPE_CHECKING:
    import numpy as np

    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from ....fusion.evaluation.insight import AttentionOverTime
    from ....fusion.training.cards import Card

Key = tuple[str, str]

MOST_CLIPS = 1000  # clips passed to the members; t-SNE of so many takes a few seconds
MOST_MEMBERS = 10
STEPS = 3  # steps of :func:`collect_insights` besides one for each clip shown
WITHOUT_MEMBERS = {"cv": "a cross-validation", "ensemble": "an ensemble"}
NOTHING = "No pictures of clips, attention or embeddings"


@dataclass(eq=False)
class ClipInsights:
    """What the store and the members show about a run's clips.

    Attributes:
        pictures: clip → frames and spectrogram, for the clips shown.
        attention: clip → stream → weights over time.
        factors: clip → adaption factor of the sound.
        planes: title → points ``[N, 2]`` of ``clips``.
        clips: clips passed to the members.
        notes: what is missing, and why.
    """

    pictures: dict[Key, FilmStrip] = field(default_factory=dict)
    attention: dict[Key, dict[str, AttentionOverTime]] = field(default_factory=dict)
    factors: dict[Key, float] = field(default_factory=dict)
    planes: dict[str, np.ndarray] = field(default_factory=dict)
    clips: Sequence[Key] = ()
    notes: list[str] = field(default_factory=list)


def collect_insights(
    path: Path,
    card: Card,
    named_store: Path | None,
    clips: Sequence[Key],
    shown: Sequence[Key],
    on_step: Callable[[], object],
) -> ClipInsights:
    """Collect pictures, attention, adaption factors and embeddings of clips of a run.

    Args:
        path: the run's folder.
        card: the run's card.
        named_store: the store; None for the one used in training, else ``features``.
        clips: clips for factors and embeddings; if more than :data:`MOST_CLIPS`, an evenly spaced selection.
        shown: clips for pictures and attention.
        on_step: callback after each step.
    """
    from ....cache.errors import StoreError
    from ....cache.store import FeatureStore
    from ....fusion.errors import FusionError

    candidates = [Path(str(name)) for name in (card.facts.get("store"), "features") if name]
    store_path = next(
        (path for path in ([named_store] if named_store else candidates) if (path / "store.json").exists()),
        None,
    )
    if store_path is None:
        return ClipInsights(notes=[f"{NOTHING}: the feature store was not found; name it with --store."])
    try:
        store = FeatureStore(store_path)
    except (StoreError, OSError) as error:
        return ClipInsights(notes=[f"{NOTHING}: {error}"])
    insights = ClipInsights()
    with store:
        rows = {row.clip.key: row for row in store.rows}
        missing = [clip for clip in clips if clip not in rows]
        if missing:
            insights.notes.append(
                f"{len(missing)} of {len(clips)} clips are not in the store, such as {'/'.join(missing[0])}."
            )
        for clip in shown:
            if clip in rows:
                insights.pictures[clip] = pictures_of(store, rows[clip])
            on_step()
        if card.kind != "train":
            insights.notes.append(
                f"No attention or embeddings: {WITHOUT_MEMBERS.get(card.kind, card.kind)} keeps no members; "
                "`avemo-fuse train` does."
            )
            return insights
        stored = {clip: rows[clip] for clip in clips if clip in rows}
        try:
            _add_insights(insights, path, store, _sample(stored, shown, insights.notes), shown, on_step)
        except (FusionError, StoreError, OSError) as error:
            insights.notes.append(f"No attention or embeddings: {error}")
    return insights


def _sample(rows: Mapping[Key, Row], shown: Sequence[Key], notes: list[str]) -> dict[Key, Row]:
    """Return at most :data:`MOST_CLIPS` clips, including those ``shown``."""
    if len(rows) <= MOST_CLIPS:
        return dict(rows)
    notes.append(f"Adaption factors and embeddings are of {MOST_CLIPS} of {len(rows)} clips, evenly chosen.")
    others = [clip for clip in rows if clip not in {*shown}]
    room = MOST_CLIPS - (len(rows) - len(others))
    chosen = {*shown, *(others[i * len(others) // room] for i in range(room))}
    return {clip: row for clip, row in rows.items() if clip in chosen}


def _add_insights(
    insights: ClipInsights,
    path: Path,
    store: FeatureStore,
    rows: Mapping[Key, Row],
    shown: Sequence[Key],
    on_step: Callable[[], object],
) -> None:
    """Run the members of the run at ``path`` on ``rows`` and add the results to ``insights``."""
    from ....fusion.errors import FusionError
    from ....fusion.evaluation.insight import inspect_members, plane
    from ....fusion.training.runs import Run

    if not rows:
        return
    run = Run(path)
    count = min(run.members, MOST_MEMBERS)
    corpus = run.read(store, list(rows.values()))
    insight = inspect_members([run.load(number) for number in range(count)], corpus)
    on_step()
    if count < run.members:
        insights.notes.append(
            f"Attention, factors and embeddings are of the first {count} of {run.members} members."
        )
    insights.clips = list(rows)
    for number, clip in enumerate(rows):
        if clip in shown:
            insights.attention[clip] = {stream: own[number] for stream, own in insight.attention.items()}
        if insight.factors is not None:
            insights.factors[clip] = float(insight.factors[number, 0])
    single = "Attended streams side by side"
    before = single if insight.after is None else f"{single}, before fusion"
    for title, values in ((before, insight.before), ("Embedding after fusion", insight.after)):
        if values is not None:
            try:
                insights.planes[title] = plane(values)
            except FusionError as error:
                insights.notes.append(f"{title}: {error}.")
        on_step()
