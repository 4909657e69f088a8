"""Naming schemes of corpora whose paths contain their labels, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .found import PICTURE, SOUND, WHOLE
from .pattern import PathPattern
from .table import LabelTable


@dataclass(frozen=True)
class Scheme:
    """How a corpus names its files.

    Attributes:
        name: its name for ``--dataset``.
        title: its usual name.
        example: a path, or the pattern itself.
        pattern: see :class:`.PathPattern`.
        labels: code → class; if empty, the text itself is the class.
        splits: folder → split; if empty, the usual names.
        parts: code → what a file holds of its recording, one of :data:`.HOLDS`.
        table: the CSV with the labels, if paths have none.
        corrected: prefix of recordings that replace faulty ones.
    """

    name: str
    title: str
    example: str
    pattern: str
    labels: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    table: LabelTable | None = None
    corrected: str = ""

    @cached_property
    def paths(self) -> PathPattern:
        """Its pattern, ready for use.

        Raises:
            DatasetError: it is no pattern.
        """
        choices = {"label": self.labels, "split": self.splits, "part": self.parts}
        return PathPattern(self.pattern, choices)


SCHEMES = (
    Scheme(
        name="java-sed",
        title="Java-SED",
        example="01-02-06_01.mp4",
        pattern="{actor:0[1-9]|10}-{sentence:0[1-4]}-{emotion}{:[-_]}{take:[0-9]{2}}",
        labels={
            "01": "Neutral",
            "02": "Sad",
            "03": "Happy",
            "04": "Surprise",
            "05": "Fear",
            "06": "Angry",
        },
    ),
    Scheme(
        name="ravdess",
        title="RAVDESS",
        example="Actor_01/01-01-06-01-02-01-01.mp4",
        pattern=(
            "{part}-{channel:0[12]}-{emotion}-{intensity:0[12]}-{statement:0[12]}-{repetition:0[12]}-"
            "{actor:0[1-9]|1[0-9]|2[0-4]}"
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
        parts={"01": WHOLE, "02": PICTURE, "03": SOUND},
    ),
    Scheme(
        name="crema-d",
        title="CREMA-D",
        example="VideoFlash/1001_DFA_ANG_XX.flv",
        pattern="{actor:1[0-9]{3}}_{sentence:[A-Z]{3}}_{emotion}_{level:[A-Z]{1,2}}",
        labels={
            "ANG": "Angry",
            "DIS": "Disgust",
            "FEA": "Fear",
            "HAP": "Happy",
            "NEU": "Neutral",
            "SAD": "Sad",
        },
    ),
    Scheme(
        name="savee",
        title="SAVEE",
        example="AudioVisualClip/DC/sa1.avi",
        pattern="{actor:DC|JE|JK|KL}{:[/_]}{emotion}{:0?}{sentence:[1-9][0-9]?}",  # a1.avi is a01.wav's film
        labels={
            "a": "Angry",
            "d": "Disgust",
            "f": "Fear",
            "h": "Happy",
            "n": "Neutral",
            "sa": "Sad",
            "su": "Surprise",
        },
    ),
    Scheme(
        name="rml",
        title="RML",
        example="rml-1/s1/English/an1.avi",
        pattern="s{subject:[1-8]}/**/{emotion}{sentence:(?![a-z])[^/]*}",
        labels={
            "an": "Angry",
            "di": "Disgust",
            "fe": "Fear",
            "ha": "Happy",
            "sa": "Sad",
            "su": "Surprise",
        },
    ),
    Scheme(
        name="enterface",
        title="eNTERFACE'05",
        example="subject 1/anger/sentence 1/s1_an_1.avi",
        pattern="subject{:[ _-]?}{subject:[0-9]+}/{emotion}/**/*",
        labels={
            "anger": "Angry",
            "disgust": "Disgust",
            "fear": "Fear",
            "happiness": "Happy",
            "sadness": "Sad",
            "surprise": "Surprise",
        },
    ),
    Scheme(
        name="meld",
        title="MELD",
        example="train_splits/dia0_utt0.mp4 and train_sent_emo.csv",
        pattern="{split}/dia{dialogue:[0-9]+}_utt{utterance:[0-9]+}",
        labels={
            "anger": "Angry",
            "disgust": "Disgust",
            "fear": "Fear",
            "joy": "Happy",
            "neutral": "Neutral",
            "sadness": "Sad",
            "surprise": "Surprise",
        },
        splits={
            **dict.fromkeys(("train_splits", "train"), "train"),
            **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev"), "val"),
            **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
        },
        table=LabelTable(
            files={"train": "train_sent_emo.csv", "val": "dev_sent_emo.csv", "test": "test_sent_emo.csv"},
            keys={"dialogue": "Dialogue_ID", "utterance": "Utterance_ID"},
            label="Emotion",
            subject="Speaker",
        ),
        corrected="final_videos_test",
    ),
)
"""In the order in which they are tried."""
