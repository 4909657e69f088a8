"""Class names: the seven emotions, their synonyms, and further classes of corpora."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ....cache.reading import read_json
from ...errors import DatasetError
from ..tables import csv_rows
from .folders import AFEW_CLASSES
from .found import FoundClips, count_of

SYNONYMS = {
    **dict.fromkeys(("anger", "angry", "ang"), "Angry"),
    **dict.fromkeys(("disgust", "disgusted", "dis"), "Disgust"),
    **dict.fromkeys(("afraid", "fear", "fearful", "scared", "fea"), "Fear"),
    **dict.fromkeys(("happiness", "happy", "joy", "joyful", "hap"), "Happy"),
    **dict.fromkeys(("neutral", "neutrality", "neu"), "Neutral"),
    **dict.fromkeys(("sad", "sadness"), "Sad"),
    **dict.fromkeys(("surprise", "surprised", "sur"), "Surprise"),
}
"""Synonym in lower case → one of the seven emotions."""

NEAREST = {
    **dict.fromkeys(("bored", "boredom"), "Neutral"),
    **dict.fromkeys(("calm", "calmness"), "Neutral"),
    **dict.fromkeys(("contempt", "contemptuous"), "Disgust"),
    **dict.fromkeys(("amused", "amusement"), "Happy"),
    **dict.fromkeys(("excited", "excitement"), "Happy"),
    **dict.fromkeys(("frustrated", "frustration"), "Angry"),
}
"""Other emotion in lower case → nearest of the seven, used by ``map``."""


def names_an_emotion(name: str) -> bool:
    """Return whether ``name`` contains the name of an emotion: ``happy``, ``01_Sadness``, ``anger clips``."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return any(word in SYNONYMS or word in NEAREST for word in words)


OTHERS = ("keep", "map", "drop")
"""How to treat emotions outside the seven.

``keep`` keeps all names as they are in the corpus. ``map`` and ``drop`` keep only the seven and rename their
synonyms (:data:`SYNONYMS`). ``map`` also renames other emotions to the nearest of the seven (:data:`NEAREST`)
before it leaves out the rest.
"""


def read_labels(text: str) -> dict[str, str]:
    """Parse a class mapping: ``an=Angry,di=Disgust``, or the name of a CSV or JSON file with the mapping.

    A name without a class maps to itself. A CSV has a name and a class per line; JSON has one object.

    Returns:
        Name in lower case → class.

    Raises:
        DatasetError: the mapping cannot be parsed or read, or contradicts itself.
    """
    if text.lower().endswith((".csv", ".json")):
        pairs = _from_file(Path(text))
    else:
        pairs = [_pair(item) for item in text.split(",") if item.strip()]
    labels: dict[str, str] = {}
    for name, label in pairs:
        if not name or not label:
            raise DatasetError(f"labels '{text}': '{name}={label}' is incomplete; expected NAME=CLASS")
        if labels.setdefault(name.casefold(), label) != label:
            raise DatasetError(f"labels '{text}': '{name}' is both {labels[name.casefold()]} and {label}")
    if not labels:
        raise DatasetError(f"labels '{text}' name no class; expected an=Angry,di=Disgust,…")
    return labels


def _pair(item: str) -> tuple[str, str]:
    name, equals, label = item.partition("=")
    return name.strip(), label.strip() if equals else name.strip()


def _from_file(file: Path) -> list[tuple[str, str]]:
    if file.suffix.lower() == ".csv":
        rows = [row for _, row in csv_rows(file, DatasetError)]
        wrong = next((row for row in rows if len(row) != 2), None)
        if wrong is not None:
            raise DatasetError(f"labels '{file}': '{','.join(wrong)}' is not a name and a class")
        return [(name, label) for name, label in rows]
    try:
        table = read_json(file)
    except OSError as error:
        raise DatasetError(f"labels '{file}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"'{file}' is not JSON: {error}; correct the file") from error
    if not isinstance(table, dict) or not all(isinstance(label, str) for label in table.values()):
        raise DatasetError(f'labels \'{file}\': expected one object, {{"an": "Angry", …}}')
    return [(name.strip(), label.strip()) for name, label in table.items()]


def with_labels(
    found: FoundClips, labels: Mapping[str, str] | None = None, others: str = "keep"
) -> FoundClips:
    """Rename and select classes; notes record what was changed and left out.

    Args:
        found: clips with the corpus's own classes.
        labels: class in lower case → new class; clips of other classes are left out. None keeps all.
        others: one of :data:`OTHERS`.

    Raises:
        DatasetError: no labelled clip is left.
    """
    found = _rename(found, _one_spelling(found), "")
    if labels is not None:
        found = _rename(found, lambda label: labels.get(label.casefold()), "which --labels does not name")
    if others != "keep":
        nearest = NEAREST if others == "map" else {}
        found = _rename(found, _one_of_seven(nearest), "which are none of the seven")
    return found


def same_class(label: str, classes: Iterable[str]) -> str | None:
    """Return the one of ``classes`` that matches ``label`` exactly, ignoring case, or as a synonym.

    None if there is no match or more than one.
    """
    classes = list(classes)
    if label in classes:
        return label
    for key in (str.casefold, lambda name: SYNONYMS.get(name.casefold(), name)):
        found = [name for name in classes if key(name) == key(label)]
        if len(found) == 1:
            return found[0]
    return None


def _one_spelling(found: FoundClips) -> Callable[[str], str]:
    """Merge names that differ only in case: use the spelling of the seven if present, else the commonest."""
    counts = Counter(clip.label for clip in found.clips if clip.label)
    spellings = {name.casefold(): name for name, _ in reversed(counts.most_common())}
    spellings.update({name.casefold(): name for name in AFEW_CLASSES if name in counts})
    return lambda label: spellings[label.casefold()]


def _one_of_seven(nearest: Mapping[str, str]) -> Callable[[str], str | None]:
    table = {**SYNONYMS, **nearest}
    return lambda label: table.get(label.casefold())


def _rename(found: FoundClips, new_name: Callable[[str], str | None], why: str) -> FoundClips:
    counts = Counter(clip.label for clip in found.clips if clip.label)
    names = {label: new_name(label) for label in counts}
    if counts and not any(names.values()):
        raise DatasetError(f"no clip is left: the classes are {', '.join(sorted(counts))}, {why}")
    changed = [f"{old} as {new}" for old, new in sorted(names.items()) if new and new != old]
    dropped = Counter({label: count for label, count in counts.items() if not names[label]})
    notes = [f"classes taken: {', '.join(changed)}"] if changed else []
    if dropped:
        counted = ", ".join(f"{count} {label}" for label, count in dropped.most_common())
        notes.append(f"left out: {count_of(dropped.total(), 'clip')} of classes {why} ({counted})")
    if not notes:
        return found
    clips = [
        replace(clip, label=names[clip.label]) if clip.label else clip
        for clip in found.clips
        if not clip.label or names[clip.label]
    ]
    keys = {clip.key for clip in clips}
    markers = {key: span for key, span in found.markers.items() if key in keys}
    return replace(found, clips=clips, notes=[*found.notes, *notes], markers=markers)
