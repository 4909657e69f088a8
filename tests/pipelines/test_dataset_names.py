"""Naming schemes and class names of one's own: patterns, labels, and what does not fit them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.fusion.training.folds import SESSION, sessions
from avemo.pipelines.cli.extract import main as extract
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.corpora.clips.labels import NEAREST, read_labels
from avemo.pipelines.errors import DatasetError

from .corpora import plant, said


class TestOwnNames:
    def test_a_pattern_with_labels(self, tmp_path: Path, clip: Path) -> None:
        names = ["01-1-an_1", "01-2-di_1", "02-1-AN_1", "02-2-xx_1"]
        plant(tmp_path, clip, [f"{name}.mp4" for name in names])
        labels = {"an": "Angry", "di": "Disgust"}
        found = find_clips(tmp_path, pattern="{actor}-{sentence}-{emotion}_{take}", labels=labels)
        assert said(found) == {
            ("all", "Angry", "01", "01-1-an_1"),
            ("all", "Disgust", "01", "01-2-di_1"),
            ("all", "Angry", "02", "02-1-AN_1"),
        }
        assert "left out: 1 clip of classes which --labels does not name (1 xx)" in found.notes

    def test_folders_that_say_session_split_and_class(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["x/Training/s1/ann/joy/1.mp4", "x/dev/s2/bob/calm/1.mp4"])
        found = find_clips(tmp_path, pattern="{split}/s{session}/{speaker}/{emotion}/{take}.mp4")
        assert found.clips == [
            Clip("s1/ann/joy/1", "train", str(tmp_path / "x/Training/s1/ann/joy/1.mp4"), "joy", "ann", "1"),
            Clip("s2/bob/calm/1", "val", str(tmp_path / "x/dev/s2/bob/calm/1.mp4"), "calm", "bob", "2"),
        ]
        assert sessions(found.clips, SESSION) == ["1", "2"]
        assert sessions(found.clips, r"s\d") == ["s1", "s2"]

    def test_a_part_of_an_own_scheme_is_a_name_like_others(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["ann-1-joy.mp4", "ann-2-joy.mp4", "ann-2-joy.wav"])
        found = find_clips(tmp_path, pattern="{actor}-{part}-{emotion}")
        assert [clip.id for clip in found.clips] == ["ann-1-joy", "ann-2-joy"]
        assert [item.path for item in found.left_out] == ["ann-2-joy.wav"]

    def test_two_folders_of_one_split_may_hold_one_name(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["dev/joy/1.mp4", "val/joy/1.mp4", "val/rage/1.mp4"])
        found = find_clips(tmp_path, pattern="{split}/{emotion}/{take}")
        assert [str(clip) for clip in found.clips] == ["val/joy/1", "val/rage/1"]
        assert [item.path for item in found.left_out] == ["val/joy/1.mp4"]

    def test_what_does_not_fit_is_left_out_with_the_place(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["01-an.mp4", "01-an-3.mp4", "02an.mp4", "notes/x.mp4", "y.mp4"])
        found = find_clips(tmp_path, pattern="{actor:[0-9]+}-{emotion:[a-z]+}")
        assert [clip.id for clip in found.clips] == ["01-an"]
        assert {item.path: item.detail for item in found.problems} == {
            "01-an-3.mp4": "fails at '-3', where the end of the name is expected",
            "02an.mp4": "fails at 'an', where '-' is expected",
            "notes/x.mp4": "fails at 'x', where {actor:[0-9]+} is expected",
            "y.mp4": "",  # the first three say it
        }

    def test_a_pattern_that_fits_nothing(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["01_an.mp4", "02_di.mp4", "03_fe.mp4", "04_ha.mp4"])
        with pytest.raises(
            DatasetError,
            match=r"4 of 4 are not: '01_an.mp4' fails at its end, where '-' is expected; '02_di.mp4' .*; "
            r"'03_fe.mp4' .*; and 1 more",
        ):
            find_clips(tmp_path, pattern="{actor}-{emotion}")

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("clip_1", "has no placeholder"),
            ("{actor}{emotion}", "nothing separates '{actor}' and '{emotion}'"),
            ("{actor:[0-9}-{emotion}", "cannot be used: "),
            ("{the actor}-{emotion}", "expected a name, such as"),
            ("{actor}-{emotion", "has an unclosed brace"),
            ("{actor}-{speaker}-{emotion}", "names the subject twice"),
            ("{actor}-{actor}", "cannot be used: redefinition"),
        ],
    )
    def test_patterns_that_are_none(self, tmp_path: Path, clip: Path, pattern: str, message: str) -> None:
        plant(tmp_path, clip, ["a.mp4"])
        with pytest.raises(DatasetError, match=message):
            find_clips(tmp_path, pattern=pattern)

    def test_one_thing_says_what_the_clips_are(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="both the data set 'rml' and a pattern are given"):
            find_clips(tmp_path, "rml", pattern="{actor}-{emotion}")

    def test_extraction_stores_what_a_pattern_says(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path / "clips", clip, ["ses1/ann_an.mp4", "ses2/bob_ca.mp4", "ses2/bob_zz.mp4"])
        arguments = [
            *("--pattern", "{session}/{actor}_{emotion}", "--labels", "an=Angry,ca=calm"),
            *("--other-labels", "map", "--tta", "none", "--workers", "1", "--store", tmp_path / "store"),
        ]
        result = CliRunner().invoke(extract, [str(tmp_path / "clips"), *map(str, arguments)])
        assert result.exit_code == 0, result.output
        assert "classes taken: calm as Neutral" in result.output
        with FeatureStore(tmp_path / "store") as store:
            stored = {row.clip.id: row.clip for row in store.rows}
        assert {clip.label for clip in stored.values()} == {"Angry", "Neutral"}
        assert stored["ses1/ann_an"].subject == "ann" and stored["ses1/ann_an"].session == "ses1"


class TestLabels:
    def labelled(self, tmp_path: Path, clip: Path, **options: Any) -> tuple[dict[str, int], list[str]]:
        names = ("joy/1", "joy/2", "Joy/3", "calm/4", "Contempt/5", "confused/6", "Angry/7")
        plant(tmp_path, clip, [f"{name}.mp4" for name in names])
        found = find_clips(tmp_path, "folders", **options)
        return found.counts["all"], found.notes

    def test_kept_as_they_are_but_for_case(self, tmp_path: Path, clip: Path) -> None:
        counts, notes = self.labelled(tmp_path, clip)
        assert counts == {"Angry": 1, "Contempt": 1, "calm": 1, "confused": 1, "joy": 3}
        assert notes == ["classes taken: Joy as joy"]

    def test_mapped_to_the_nearest(self, tmp_path: Path, clip: Path) -> None:
        counts, notes = self.labelled(tmp_path, clip, others="map")
        assert counts == {"Angry": 1, "Disgust": 1, "Happy": 3, "Neutral": 1}
        assert notes[1:] == [
            "classes taken: Contempt as Disgust, calm as Neutral, joy as Happy",
            "left out: 1 clip of classes which are none of the seven (1 confused)",
        ]

    def test_dropped(self, tmp_path: Path, clip: Path) -> None:
        counts, notes = self.labelled(tmp_path, clip, others="drop")
        assert counts == {"Angry": 1, "Happy": 3}
        assert "3 clips" in notes[-1] and "1 calm" in notes[-1]

    def test_chosen_and_renamed(self, tmp_path: Path, clip: Path) -> None:
        counts, _ = self.labelled(tmp_path, clip, labels={"joy": "Happy", "angry": "Angry"})
        assert counts == {"Angry": 1, "Happy": 3}

    @pytest.mark.parametrize(
        ("content", "name"),
        [("an,Angry\ndi,Disgust\n", "l.csv"), ('{"an": "Angry", "di": "Disgust"}', "l.json")],
    )
    def test_in_a_file(self, tmp_path: Path, clip: Path, content: str, name: str) -> None:
        plant(tmp_path, clip, ["1_an.mp4", "1_di.mp4"])
        (tmp_path / name).write_text(content)
        labels = read_labels(str(tmp_path / name))
        found = find_clips(tmp_path, pattern="{actor}_{emotion}", labels=labels)
        assert found.counts == {"all": {"Angry": 1, "Disgust": 1}}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("an=", "'an=' is incomplete"),
            ("an=Angry,AN=Sad", "'AN' is both Angry and Sad"),
            (",", "name no class"),
            ("gone.json", "cannot be read"),
            (__file__.replace(".py", ".csv"), "cannot be read"),
            ("oh=Angry", "no clip is left: the classes are an, which --labels does not name"),
        ],
    )
    def test_that_cannot_be_used(self, tmp_path: Path, clip: Path, text: str, message: str) -> None:
        plant(tmp_path, clip, ["1_an.mp4"])
        with pytest.raises(DatasetError, match=message):
            find_clips(tmp_path, pattern="{actor}_{emotion}", labels=read_labels(text))


def test_the_documentation_has_the_table_of_nearest_classes() -> None:
    page = Path(__file__).parents[2] / "docs" / "datasets.md"
    rows = re.findall(r"^\| ([a-z, ]+) \| ([A-Z][a-z]+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: nearest for names, nearest in rows for name in names.split(", ")} == NEAREST
