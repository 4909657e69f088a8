"""``run.json``: the settings of a run's folder, so that a run is resumed or refused, never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.keys import FeatureKey
from ...cache.reading import read_json
from ...cache.rows import Row
from ..errors import FusionError
from ..features.corpus import Corpus
from ..features.recipes import Feature
from ..files import write_json
from ..heads.registry import described, up_to_date
from .training import Setup

FORMAT = "avemo run"
VERSION = 1
NAME = "run.json"


@dataclass(frozen=True)
class Card:
    """The card of a run's folder.

    Attributes:
        kind: ``train`` or ``cv``.
        settings: all settings that affect results, as JSON values; different settings mean a different run.
        facts: other information: members, version, command line, ``train_counts`` of the classes.
    """

    kind: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]


def settings_of(
    setup: Setup,
    features: Mapping[str, Feature],
    keys: Mapping[str, FeatureKey],
    corpus: Corpus,
    fitted: Iterable[Row],
    **more: Any,
) -> dict[str, Any]:
    """Return the settings of a run: features with their keys, head, training, and the fitted clips."""
    inputs = {
        stream: {
            "name": feature.name,
            "dimensions": corpus.streams[stream].features,
            "streams": {name: dict(keys[name].settings) for name in feature.streams},
        }
        for stream, feature in features.items()
    }
    return {
        "classes": list(setup.classes),
        "features": inputs,
        "keys": {name: key.digest for name, key in keys.items()},
        "head": described(setup.head),
        "training": setup.training.described(),
        "fitted_clips": _digest(fitted),
        **more,
    }


def claim(folder: Path, card: Card, overwrite: bool = False, own: Sequence[str] = ()) -> None:
    """Claim ``folder`` for a new run, or for resuming one with the same settings.

    Args:
        folder: folder of the run.
        card: card of the run.
        overwrite: remove the files of another run from the folder.
        own: patterns of the files that a run writes; ``overwrite`` removes nothing else.

    Raises:
        FusionError: the folder holds another run, or files that do not belong to a run.
    """
    if (folder / NAME).exists():
        changes = [] if overwrite else _changes(read(folder), card)
        if changes:
            more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
            raise FusionError(
                f"{folder} holds a run with other settings ({'; '.join(changes[:5])}{more}: there / here); "
                "choose another --out, or replace that run with --overwrite"
            )
        for path in (path for pattern in own for path in folder.glob(pattern) if overwrite):
            path.unlink()
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise FusionError(
            f"{folder} contains files that do not belong to a run; give --out a new or empty folder"
        )
    known = {"format": FORMAT, "version": VERSION, "kind": card.kind, "settings": card.settings}
    write_json(folder / NAME, {**card.facts, **known})


def read(folder: Path) -> Card:
    """Read the card of a run.

    Raises:
        FusionError: there is no card, or this version cannot read it.
    """
    path = folder / NAME
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise FusionError(
            f"{folder} is not a run (it has no {NAME}); `avemo-fuse train --out {folder}` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise FusionError(f"{path} cannot be read: {error}; train again with --overwrite") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FusionError(f"{path} does not describe a run of avemo")
    if content.get("version") != VERSION:
        raise FusionError(
            f"{path} is of version {content.get('version')!r:.40}, and this avemo reads version {VERSION}; "
            "use the avemo that wrote it, or train again"
        )
    try:
        return Card(str(content.pop("kind")), dict(content.pop("settings")), content)
    except (KeyError, TypeError, ValueError) as error:
        raise FusionError(f"{path} is incomplete ({error!r}); train again with --overwrite") from error


def differences(ours: Any, theirs: Any, name: str = "") -> list[str]:
    """Return a line ``name.of.it: ours / theirs`` for each value in which two nested mappings differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = sorted({*ours, *theirs})
        parts = [(f"{name}.{key}" if name else key, ours.get(key), theirs.get(key)) for key in keys]
        return [line for key, mine, other in parts for line in differences(mine, other, key)]
    return [] if ours == theirs else [f"{name}: {ours} / {theirs}"]


def _changes(there: Card, here: Card) -> list[str]:
    plain = json.loads(json.dumps(dict(here.settings)))  # tuples become lists, as in the file
    return differences(
        {"kind": there.kind, **_up_to_date(there.settings)}, {"kind": here.kind, **_up_to_date(plain)}
    )


def _up_to_date(settings: Mapping[str, Any]) -> dict[str, Any]:
    head = {"head": up_to_date(settings["head"])} if "head" in settings else {}
    mix = [{**part, "head": up_to_date(part["head"])} for part in settings.get("mix") or ()]
    return {**settings, **head, "mix": mix or None}


def _digest(rows: Iterable[Row]) -> str:
    """Return a hash of a set of labelled clips: their names, labels and file contents."""
    parts = [(*row.clip.key, row.clip.label, row.source and row.source.sha256) for row in rows]
    return hashlib.sha256(json.dumps(sorted(parts, key=repr)).encode()).hexdigest()[:16]
