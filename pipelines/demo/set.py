"""The demo set on disk: its clips, and a marker file that identifies it.

This module is cheap to import; :func:`make_clip` imports the code that draws and speaks.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache import durable
from ...cache.reading import read_json
from ..corpora.clips.folders import AFEW_CLASSES

KIND, VERSION, MARKER = "avemo-demo", 1, "avemo-demo.json"
SPLITS = {"Train_AFEW": 1.0, "Val_AFEW": 0.5, "Test_AFEW": 0.5}  # clips per class, relative to training
UNLABELLED = "Test_AFEW"
SHORTEST, LONGEST = 30, 50  # frames
DEMO_NOTE = (
    "Made on the demo set: one photograph moved by code, with a synthetic voice, not human emotion. "
    "A score on it says only that the pipeline works."
)
DEMO_MARK = "trained on the demo set: not human emotion"
"""Text shown in every picture of the scores of a run that was trained on the demo set."""
README = f"""\
A demo set made by `avemo demo`
===============================

{DEMO_NOTE}

Every face here is one photograph (scikit-image's "astronaut", NASA, public domain), bent by its landmarks
into expressions, face shapes and head motions, recoloured and lit by code. Every voice is a source-filter
model that says meaningless syllables. The person in the photograph felt, showed and said none of this.

The folders have the shape of AFEW: Train_AFEW/<class>/<clip>.mp4, Val_AFEW/<class>/<clip>.mp4 and, without
labels, Test_AFEW/<clip>.mp4. A clip's first three digits name its "actor"; no actor is in two of the parts.
Do not publish a score on these clips as a result in emotion recognition.
"""


@dataclass(frozen=True)
class Shot:
    """A clip to make."""

    path: str  # relative to the set
    actor: int
    emotion: str
    seed: int


def plan(per_class: int, seed: int) -> list[Shot]:
    """Return the clips of a set. Each actor plays each class once, all in the same split."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shots = []
    actor = 0
    for split, share in SPLITS.items():
        for _ in range(max(round(per_class * share), 1)):
            actor += 1
            takes = rng.choice(1_000_000, len(AFEW_CLASSES), replace=False)
            for emotion, take in zip(AFEW_CLASSES, takes, strict=True):
                folder = split if split == UNLABELLED else f"{split}/{emotion}"
                shots.append(Shot(f"{folder}/{actor:03d}{take:06d}.mp4", actor, emotion, seed))
    return shots


def is_demo(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is, or is inside, a demo set made by ``avemo demo``."""
    place = Path(path).resolve()
    return any(_read_marker(folder) is not None for folder in (place, *place.parents))


def claim(folder: Path, per_class: int, seed: int) -> list[Shot]:
    """Prepare a folder for a set and return the clips that are missing.

    Raises:
        FileExistsError: the folder holds something else, or a demo set with other settings.
    """
    shots = plan(per_class, seed)
    settings = {"version": VERSION, "seed": seed, "clips_per_class": per_class}
    marker = {"kind": KIND, **settings, "counts": dict(Counter(shot.path.split("/")[0] for shot in shots))}
    present = _read_marker(folder)
    if present is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty and no demo set: name a new or an empty folder")
    if present is not None and present != marker:
        has = ", ".join(f"{name} {present.get(name)}" for name in settings)
        wanted = ", ".join(f"{name} {settings[name]}" for name in settings)
        raise FileExistsError(f"{folder} holds a demo set of {has}; asked for {wanted}: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if present is None:
        _write(folder / MARKER, json.dumps(marker, indent=2) + "\n")
    _write(folder / "README.txt", README)
    return [shot for shot in shots if not (folder / shot.path).exists()]


def make_clip(folder: Path, shot: Shot) -> None:
    """Make one clip under a temporary name and rename it once it is complete."""
    import numpy as np

    from . import face as demo_face
    from . import voice as demo_voice
    from .film import write_film

    casting = np.random.default_rng([shot.seed, shot.actor])
    actor = demo_face.cast(casting)
    speaker = demo_voice.cast(actor.bearded or casting.random() < 0.2, casting)
    rng = np.random.default_rng([shot.seed, shot.actor, AFEW_CLASSES.index(shot.emotion)])
    frames = int(rng.integers(SHORTEST, LONGEST + 1))
    sound, opening = demo_voice.speak(speaker, shot.emotion, frames, demo_face.FPS, rng)
    path = folder / shot.path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    film = demo_face.perform(actor, shot.emotion, opening, rng)
    write_film(unfinished, film, demo_face.FPS, sound, demo_voice.RATE)
    durable.put(unfinished, path)


def make(folder: Path, shots: list[Shot], workers: int) -> Iterator[None]:
    """Make clips in parallel processes (0: one per core), yielding once for each finished clip.

    Raises:
        ModuleNotFoundError: scikit-image, which provides the photograph, is not installed.
    """
    from importlib.util import find_spec

    from joblib import Parallel, delayed

    if find_spec("skimage") is None:
        raise ModuleNotFoundError("the demo set needs scikit-image: pip install scikit-image")
    parallel = Parallel(n_jobs=workers or -1, return_as="generator_unordered")
    yield from parallel(delayed(make_clip)(folder, shot) for shot in shots)


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = read_json(folder / MARKER)
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("kind") == KIND else None


def _write(path: Path, text: str) -> None:
    with durable.replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
