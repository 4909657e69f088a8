"""Read a store for training."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ... import __version__
from ...cache.keys import FeatureKey
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ...extract.backbones.weights import load_state
from ...extract.digest import sha256_of
from ...fusion.errors import FusionError
from ...fusion.features.corpus import Corpus, load
from ...fusion.features.recipes import AUDIO, RECIPES, VISUAL, Feature, find
from ...fusion.heads.attention import attention_class
from ...fusion.heads.registry import (
    EncoderSettings,
    HeadSettings,
    build_head,
    check_acting,
    complete,
    head_class,
    settings_for,
)
from ...fusion.heads.settings import KEYS
from ...fusion.training.cards import Card, settings_of
from ...fusion.training.duplicates import content_of
from ...fusion.training.grid import Grid
from ...fusion.training.training import Setup
from .notes import demo_note
from .settings import HeadTraining

ENCODED = {"audio": "spectrogram", "visual": "markers"}
"""The feature that an encoder of each stream reads by default."""


@dataclass
class Prepared:
    """A store read for training.

    Attributes:
        store: the store.
        rows: clips used.
        features: ``visual``, ``audio`` or both, as the head needs.
        keys: key of each stream that the features read.
        corpus: values of the features, in the order of ``rows``.
        setup: classes and settings.
        grid: settings to combine, in place of the setup's.
        seeds: the first seed, and the number of seeds.
    """

    store: FeatureStore
    rows: Sequence[Row]
    features: Mapping[str, Feature]
    keys: Mapping[str, FeatureKey]
    corpus: Corpus
    setup: Setup
    grid: Grid
    seeds: tuple[int, int]

    def card(self, kind: str, fitted: Sequence[int], facts: Mapping[str, Any], **settings: Any) -> Card:
        """Return the card for the run's folder."""

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
            self.setup,
            self.features,
            self.keys,
            self.corpus,
            [self.rows[i] for i in fitted],
            **settings,
        )
        return Card(kind, described, {**always, **facts})


def prepare(store: FeatureStore, settings: HeadTraining, labelled_only: bool = False) -> Prepared:
    """Find and read the features that the settings ask for.

    Raises:
        StoreError: the store cannot be read.
        FusionError: there are no such features, heads or attentions, or no labelled clips.
    """
    rows = [row for row in store.rows if row.clip.label is not None or not labelled_only]
    if not any(row.clip.label is not None for row in rows):
        raise FusionError(
            f"{store.path} has {len(store.rows)} clips and none of them is labelled; put clips in class "
            "folders, or give avemo-extract a manifest with a label column"
        )
    settings = settings.settled(sum(row.clip.label is not None for row in rows))
    head = head_settings(settings)
    kind = head_class(head.fusion)
    streams = kind.streams
    for stream in streams:
        attention_class(head.attention(stream))
    wanted = {VISUAL: settings.visual, AUDIO: settings.audio}
    for stream, feature in ENCODED.items():
        if getattr(settings, f"{stream}_encoder") and wanted[stream] == "auto":
            wanted[stream] = feature
    parts = "trunks" in kind.options
    features = {s: find(store, s, wanted[s], kind.reads.get(s, ()), parts) for s in streams}
    encoded, weights = encoders(settings, features)
    head = replace(head, visual_encoder=encoded.get(VISUAL), audio_encoder=encoded.get(AUDIO))
    keys = {name: key for feature in features.values() for name, key in feature.keys(store, rows).items()}
    corpus = load(store, features, rows)
    setup = Setup(corpus.classes, head, settings.training, settings.device, weights)
    dimensions = {stream: sequences.features for stream, sequences in corpus.streams.items()}
    grid, seeds = Grid.parse(settings.grid, settings.seed, settings.members)
    grid.check(head)
    for each in grid.setups(setup):
        each.training.check()
        build_head(each.head, dimensions, len(setup.classes), setup.weights)  # raises if settings do not fit
    return Prepared(store, rows, features, keys, corpus, setup, grid, seeds)


def describe(prepared: Prepared) -> list[tuple[str, str]]:
    """Describe the input of training, as names and texts."""
    counts = Counter(row.clip.split for row in prepared.rows)
    head = prepared.setup.head
    lines = [
        ("clips", f"{len(prepared.rows)} ({', '.join(f'{name} {count}' for name, count in counts.items())})"),
        ("classes", " ".join(prepared.setup.classes)),
    ]
    for stream, feature in prepared.features.items():
        sequences = prepared.corpus.streams[stream]
        lacking = int((sequences.lengths == 0).sum())
        text = f"{feature.name}, {sequences.features} values, {path_of(head, stream)}"
        lines.append((stream, text + (f"; {lacking} clips have none" if lacking else "")))
        for name in feature.streams:
            waiting = sum(name not in row.entries for row in prepared.rows)
            imported = prepared.keys[name].settings.get("imported")
            remedy = "avemo store import adds theirs" if imported else "run avemo-extract again to continue"
            if waiting:
                lines.append(("", f"{waiting} clips are not in {name} yet: {remedy}"))
    lines.append(("fusion", head.fusion))
    lines.append(("training", training_of(prepared)))
    if prepared.grid.axes:
        axes = ", ".join(f"{name} {len(values)}" for name, values in prepared.grid.axes.items())
        lines.append(("grid", f"{len(prepared.grid.points)} points: {axes}"))
    return lines


def training_of(prepared: Prepared) -> str:
    """Describe how a member is trained, leaving out what the grid gives."""
    training, head, grid = prepared.setup.training, prepared.setup.head, prepared.grid.axes
    values = {
        "epochs": ("epochs", training.epochs),
        "batch": ("batch", training.batch),
        "learning_rate": ("learning rate", training.learning_rate),
        "dropout": ("dropout", head.dropout),
        "weight_decay": ("weight decay", training.weight_decay or None),
        "halve_after": ("halved after", training.halve_after),
    }
    own = [pair for key, pair in values.items() if key not in grid]
    return ", ".join(f"{words} {value:g}" for words, value in own if value is not None)


def head_settings(settings: HeadTraining) -> HeadSettings:
    """Return the head that the settings ask for; the rest is as in the head's paper.

    Raises:
        FusionError: there is no such head or attention, or a given key does not act in it.
    """
    keys = HeadSettings().with_keys(settings.head)
    given = {
        "visual_attention": settings.visual_attention or settings.attention,
        "audio_attention": settings.audio_attention or settings.attention,
        "dropout": settings.dropout,
        **{name: getattr(keys, name) for name in {KEYS[key].of[0] for key in settings.head if key != "lrn"}},
    }
    made = settings_for(settings.fusion, **{name: v for name, v in given.items() if v is not None})
    check_acting(made, [KEYS[key].of[0] for key in settings.head if key != "lrn"])
    return made


def encoders(
    settings: HeadTraining, features: Mapping[str, Feature]
) -> tuple[dict[str, EncoderSettings], dict[str, Mapping[str, Tensor]]]:
    """Return the encoders that the settings ask for, by stream, and the tensors of the files that they name.

    Args:
        settings: settings of the training.
        features: feature of each stream that the head reads.

    Raises:
        FusionError: there is nothing for an encoder to read.
        WeightsError: a file cannot be read.
    """
    found, weights = {}, {}
    for stream in ENCODED:
        name, _, file = (getattr(settings, f"{stream}_encoder") or "").partition("@")
        if name:
            channels = _channels(name, stream, features.get(stream), settings.fusion)
            found[stream], tensors = _encoder(name, channels, settings.head.get("lrn"), file)
            if file:
                weights[stream] = tensors
    return found, weights


def _channels(name: str, stream: str, feature: Feature | None, fusion: str) -> int:
    """Return the number of channels of the feature that an encoder reads."""

    if feature is None:
        what = {"audio": "sound", "visual": "pictures"}[stream]
        raise FusionError(f"the fusion {fusion} reads no {what}, so {name} has no input")
    if not feature.recipe.channels:
        able = " or ".join(r.name for r in RECIPES.values() if r.channels and r.modality == stream)
        raise FusionError(
            f"{name} reads pictures over time, and {feature.name} is not one; use --{stream} {able}"
        )
    return feature.recipe.channels


def _encoder(
    name: str, channels: int, lrn: bool | None, file: str
) -> tuple[EncoderSettings, Mapping[str, Tensor]]:

    lrn = name == "1d-abfcn" if lrn is None else lrn
    if not file:
        return EncoderSettings(name, channels, lrn), {}

    return EncoderSettings(name, channels, lrn, sha256_of(file)), load_state(file)


def path_of(head: HeadSettings, stream: str) -> str:
    """Describe what a stream goes through before it is fused."""

    segments = complete(head).segments
    if segments is not None:
        return {"visual": f"LSTM of {segments.lstm} over each segment", "audio": "a vector a segment"}[stream]
    encoder, temperature, parts = head.encoder(stream), head.temperature(stream), []
    if encoder:
        begin = f"weights {encoder.weights[:8]}" if encoder.weights else "random weights"
        parts.append(f"{encoder.name}{'' if encoder.lrn else ' without LRN'} from {begin}")
    attention = f"attention {head.attention(stream)}"
    parts.append(attention if temperature == 1 else f"{attention} with λ {temperature:g}")
    return ", ".join(parts)
