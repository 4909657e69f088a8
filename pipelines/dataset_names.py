"""Data sets whose file names say what their clips are, as a table of patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .dataset_found import MOST, ONLY_SPLIT, Found, NotThisDataset, clip_at, first_names, one_per_id
from .dataset_scan import LeftOut, Tree


@dataclass(frozen=True)
class NamePattern:
    """How a data set names its files.

    ``stem`` matches a name without its suffix and has the groups ``label`` and ``subject``. Where one
    recording comes as several files it also has ``part`` and ``recording``; ``parts`` says what the files
    of a recording hold that are not the whole of it.
    """

    name: str
    title: str
    shape: str
    stem: re.Pattern[str]
    labels: Mapping[str, str]
    parts: Mapping[str, str] = field(default_factory=dict)


NAME_PATTERNS = (
    NamePattern(
        name="java-sed",
        title="Java-SED",
        shape="AA-BB-CC_01 (actor 01-10, sentence 01-04, emotion 01-06)",
        stem=re.compile(r"(?P<subject>0[1-9]|10)-0[1-4]-(?P<label>0[1-6])[_-]\d\d"),
        labels={
            "01": "Neutral",
            "02": "Sad",
            "03": "Happy",
            "04": "Surprise",
            "05": "Fear",
            "06": "Angry",
        },
    ),
    NamePattern(
        name="ravdess",
        title="RAVDESS",
        shape="MM-VC-EE-II-SS-RR-AA (modality, channel, emotion, intensity, statement, repetition, actor)",
        stem=re.compile(
            r"(?P<part>0[123])-"
            r"(?P<recording>0[12]-(?P<label>0[1-8])-0[12]-0[12]-0[12]-(?P<subject>0[1-9]|1\d|2[0-4]))"
        ),
        labels={
            "01": "Neutral",
            "02": "Calm",
            "03": "Happy",
            "04": "Sad",
            "05": "Angry",
            "06": "Fear",
            "07": "Disgust",
            "08": "Surprise",
        },
        parts={"02": "picture only", "03": "sound only"},
    ),
    NamePattern(
        name="crema-d",
        title="CREMA-D",
        shape="1001_DFA_ANG_XX (actor, sentence, emotion, level)",
        stem=re.compile(r"(?P<subject>1\d{3})_[A-Z]{3}_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}"),
        labels={
            "ANG": "Angry",
            "DIS": "Disgust",
            "FEA": "Fear",
            "HAP": "Happy",
            "NEU": "Neutral",
            "SAD": "Sad",
        },
    ),
)


def find_by_name(tree: Tree, pattern: NamePattern) -> Found:
    """The clips of a folder most of whose media files are named by the pattern."""
    matches: dict[PurePosixPath, re.Match[str]] = {}
    strangers: list[PurePosixPath] = []
    for file in tree.files:
        match = pattern.stem.fullmatch(file.stem)
        if match:
            matches[file] = match
        else:
            strangers.append(file)
    if len(matches) < MOST * len(tree.files):
        raise NotThisDataset(
            f"expected names like {pattern.shape}; {len(strangers)} of {len(tree.files)} are not: "
            f"{first_names(strangers)}"
        )
    unnamed = [LeftOut(str(file), f"is not named like {pattern.shape}") for file in strangers]
    partial = _parts_of_whole_recordings(matches, pattern)
    clips = [
        clip_at(tree.root, file, ONLY_SPLIT, pattern.labels[match["label"]], match["subject"])
        for file, match in matches.items()
        if file not in partial
    ]
    kept, twice = one_per_id(clips, tree.root)
    parts: list[LeftOut] = [LeftOut(str(file), reason, spare=True) for file, reason in partial.items()]
    return Found(kept, pattern.title, [*tree.left_out, *unnamed, *parts, *twice])


def _parts_of_whole_recordings(
    matches: Mapping[PurePosixPath, re.Match[str]], pattern: NamePattern
) -> dict[PurePosixPath, str]:
    """Files that repeat the picture or the sound of a recording that is there whole, with the reason."""
    if not pattern.parts:
        return {}
    whole = {
        match["recording"]: file for file, match in matches.items() if match["part"] not in pattern.parts
    }
    return {
        file: f"{pattern.parts[match['part']]}; '{whole[match['recording']]}' is the whole recording"
        for file, match in matches.items()
        if match["part"] in pattern.parts and match["recording"] in whole
    }
