"""What ``avemo-fuse train`` and ``cv`` share: their options, and how a store becomes a training corpus."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ... import __version__
from ..cli.completion import AUDIO, VISUAL, names
from ..cli.framework import altered, group, together
from ..cli.options import (
    batch_option,
    device_option,
    epochs_option,
    learning_rate_option,
    members_option,
    seed_option,
    store_option,
    workers_option,
)
from ..cli.outputs import overwrite_option
from ..cli.progress import progress_bar
from ..corpora.clips.found import count_of
from ..demo.set import DEMO_NOTE, is_demo
from .grid_option import GRID_OPTIONS, STACKED_OPTION, grid_of
from .head_options import ENCODED, HEAD_OPTIONS, encoders, head_settings, path_of

if TYPE_CHECKING:
    from ...cache.keys import FeatureKey
    from ...cache.rows import Row
    from ...cache.store import FeatureStore
    from ...fusion.evaluation.scores import Scores
    from ...fusion.features.corpus import Corpus
    from ...fusion.features.recipes import Feature
    from ...fusion.training.cards import Card
    from ...fusion.training.folds import Fold
    from ...fusion.training.grid import Grid
    from ...fusion.training.training import Plan

FEATURES_HELP = """
\b
Features (a NAME, or NAME:BACKBONE where the store has several; auto: the best it has):
  visual  basic f-mean f-meanstd f-meanstd-2 f-normfft f-ar-mean:A+B markers
  audio   alexnet alexnet-logmel functionals logmel logmel-stats mfcc-stats mfcc-vectors
          spectrogram spectrogram-stats
"""

training_options = together(
    group(
        "Features",
        store_option,
        click.option("--visual", default="auto", show_default=True, metavar="FEATURE",
                     shell_complete=names(VISUAL), help="Feature to use for faces; see below."),
        click.option("--audio", default="auto", show_default=True, metavar="FEATURE",
                     shell_complete=names(AUDIO), help="Feature to use for sound; see below."),
    ),
    HEAD_OPTIONS,
    group(
        "Training",
        members_option,
        epochs_option,
        batch_option,
        learning_rate_option,
        seed_option,
        click.option("--weight-decay", type=click.FloatRange(min=0), default=0.0, show_default=True,
                     metavar="SHARE", help="Decoupled weight decay, as in AdamW; helps with few clips."),
        click.option("--halve-after", type=click.IntRange(min=1), metavar="N",
                     help="Halve the learning rate after N epochs, as zhou2021 does after 50.  "
                     "[default: never]"),
    ),
    GRID_OPTIONS,
    group("Where it runs", device_option, workers_option, STACKED_OPTION),
    group(
        "Output",
        altered(overwrite_option, help="Replace a run with other settings in --out."),
    ),
)  # fmt: skip
"""The options that ``train`` and ``cv`` share."""


@dataclass
class Prepared:
    """A store read for training.

    Attributes:
        rows: the clips used.
        features: ``visual``, ``audio`` or both, as the head needs.
        keys: what each stream was extracted with.
        corpus: their values, in the order of ``rows``.
        plan: classes and settings.
        grid: settings to combine instead of some of the plan's.
        seeds: the first, and how many.
    """

    store: FeatureStore
    rows: Sequence[Row]
    features: Mapping[str, Feature]
    keys: Mapping[str, FeatureKey]
    corpus: Corpus
    plan: Plan
    grid: Grid
    seeds: tuple[int, int]

    def card(self, kind: str, fitted: Sequence[int], facts: Mapping[str, Any], **settings: Any) -> Card:
        """What to write on the run's folder."""
        from ...fusion.training.cards import Card, settings_of
        from ...fusion.training.duplicates import content_of

        labels = Counter(str(self.rows[i].clip.label) for i in fitted)
        always = {
            "avemo": __version__,
            "command": sys.argv,
            "store": str(self.store.path.absolute()),
            "demo": demo_note(self.rows),
            "clip_seconds": round(self.corpus.typical_seconds, 3),
            "clips": Counter(row.clip.split for row in self.rows),
            "without_face": [row.clip.key for row in self.rows if not row.has_face],
            "train_counts": dict(sorted(labels.items())),
            "fitted": sorted({content_of(self.rows[i]) for i in fitted}),
        }
        described = settings_of(
            self.plan,
            self.features,
            self.keys,
            self.corpus,
            [self.rows[i] for i in fitted],
            **settings,
        )
        return Card(kind, described, {**always, **facts})


def prepare(store: FeatureStore, options: Mapping[str, Any], labelled_only: bool = False) -> Prepared:
    """Find and read the features that the options ask for.

    Raises:
        StoreError: the store cannot be read.
        FusionError: there are no such features, heads or attentions, or no labelled clips.
    """
    from ...fusion.errors import FusionError
    from ...fusion.features.corpus import load
    from ...fusion.features.recipes import AUDIO, VISUAL, find
    from ...fusion.heads.attention import attention_class
    from ...fusion.heads.registry import build_head, head_class
    from ...fusion.training.training import Plan, TrainingSettings

    head = head_settings(options)
    kind = head_class(head.fusion)
    streams = kind.streams
    for stream in streams:
        attention_class(head.attention(stream))
    rows = [row for row in store.rows if row.clip.label is not None or not labelled_only]
    if not any(row.clip.label is not None for row in rows):
        raise FusionError(
            f"{store.path} has {len(store.rows)} clips and none of them is labelled; put clips in class "
            "folders, or give avemo-extract a manifest with a label column"
        )
    wanted = dict(options)
    for stream, feature in ENCODED.items():
        if options[f"{stream}_encoder"] and options[stream] == "auto":
            wanted[stream] = feature
    features = {s: find(store, s, wanted[s], kind.reads.get(s, ())) for s in streams}
    encoded, weights = encoders(options, features)
    head = replace(head, visual_encoder=encoded.get(VISUAL), audio_encoder=encoded.get(AUDIO))
    keys = {name: key for feature in features.values() for name, key in feature.keys(store, rows).items()}
    corpus = load(store, features, rows)
    training = TrainingSettings(
        options["epochs"],
        options["batch"],
        options["learning_rate"],
        options["weight_decay"],
        options["halve_after"],
    )
    plan = Plan(corpus.classes, head, training, options["device"], weights)
    dimensions = {stream: sequences.features for stream, sequences in corpus.streams.items()}
    grid, seeds = grid_of(options["grid"], options["seed"], options["members"])
    grid.check(head)
    for each in grid.plans(plan):
        each.training.check()
        build_head(each.head, dimensions, len(plan.classes), plan.weights)  # for its complaints
    return Prepared(store, rows, features, keys, corpus, plan, grid, seeds)


def describe(prepared: Prepared) -> list[tuple[str, str]]:
    """What goes into training, as names and texts."""
    counts = Counter(row.clip.split for row in prepared.rows)
    head = prepared.plan.head
    lines = [
        ("clips", f"{len(prepared.rows)} ({', '.join(f'{name} {count}' for name, count in counts.items())})"),
        ("classes", " ".join(prepared.plan.classes)),
    ]
    for stream, feature in prepared.features.items():
        sequences = prepared.corpus.streams[stream]
        lacking = int((sequences.lengths == 0).sum())
        text = f"{feature.name}, {sequences.features} values, {path_of(head, stream)}"
        lines.append((stream, text + (f"; {lacking} clips have none" if lacking else "")))
        for name in feature.streams:
            waiting = sum(name not in row.entries for row in prepared.rows)
            imported = prepared.keys[name].settings.get("imported")
            remedy = "avemo store import adds theirs" if imported else "run avemo-extract again to go on"
            if waiting:
                lines.append(("", f"{waiting} clips are not in {name} yet: {remedy}"))
    lines.append(("fusion", head.fusion))
    if prepared.grid.axes:
        axes = ", ".join(f"{name} {len(values)}" for name, values in prepared.grid.axes.items())
        lines.append(("grid", f"{len(prepared.grid.points)} points: {axes}"))
    return lines


def inner_folds(
    fold: Fold, prepared: Prepared, count: int, seed: int, groups: Sequence[str | None] | None = None
) -> list[Fold]:
    """A fold's training clips divided once more: by whole ``groups``, or subjects if None, where all of them
    are named; else stratified. At most ``count`` folds.

    Raises:
        FusionError: the clips are too few to divide once more.
    """
    from ...fusion.training.folds import group_k_fold, inside, k_fold

    clips = [prepared.rows[i].clip for i in fold.train]
    labels = [str(clip.label) for clip in clips]
    own = [clip.subject for clip in clips] if groups is None else groups
    if own and all(own) and len({*own}) > 1:
        return inside(fold, group_k_fold(labels, own, min(count, len({*own})), seed))
    fewest = min(labels.count(name) for name in {*labels})
    return inside(fold, k_fold(labels, max(2, min(count, fewest)), seed))


def tell(lines: Sequence[tuple[str, str]]) -> None:
    """Print names and texts in two columns."""
    for name, text in lines:
        click.echo(f"{name:<12}{text}")


def demo_note(rows: Sequence[Row]) -> str | None:
    """What must stand beside every score on the demo set; None for other clips."""
    folders = {Path(row.clip.path).parent for row in rows if row.clip.path}
    return DEMO_NOTE if any(is_demo(folder) for folder in folders) else None


def with_faces(scores: Scores, rows: Sequence[Row]) -> Scores | None:
    """The labelled clips in which a face was found; None if that is all of them, or none."""
    faces = {row.clip.key for row in rows if row.has_face}
    labelled = scores.labelled
    chosen = [i for i, clip in enumerate(labelled.clips) if clip in faces]
    return labelled.take(chosen) if 0 < len(chosen) < len(labelled.clips) else None


def unscored_note(scores: Scores) -> str | None:
    """What to say of clips that have nothing to score; None without any."""
    without = scores.unscored
    if not without.clips:
        return None
    counts = ", ".join(f"{count} {status}" for status, count in Counter(without.status).items())
    names = ", ".join("/".join(clip) for clip in without.clips[:3])
    names += f" and {len(without.clips) - 3} more" if len(without.clips) > 3 else ""
    guess = scores.predicted[scores.scored.tolist().index(False)]
    return (
        f"note: {count_of(len(without.clips), 'clip')} without scores ({counts}): {names}; counted as "
        f"{guess}, a guess: the class most probable over the others"
    )


@contextmanager
def epochs_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of epochs; what it gives is told how many are done."""

    with progress_bar(total=total, unit="epoch", disable=not total) as bar:
        yield lambda done: bar.update(done - bar.n) and None
