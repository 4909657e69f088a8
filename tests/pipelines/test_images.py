"""Finding labelled pictures: small files in the layouts that data sets come in, and real FER2013 pictures."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from avemo.pipelines.corpora.images.ferplus import FERPLUS_CLASSES, majority, shares
from avemo.pipelines.corpora.images.find import find_pictures
from avemo.pipelines.errors import NotThisLayout
from avemo.pretrain.errors import PretrainError
from avemo.pretrain.pictures import PictureSet

HOUSE = ("Angry", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
SEVEN = tuple(name for name in HOUSE if name != "Contempt")


def draw(*files: Path, value: int = 100, side: int = 8) -> None:
    """Write grey pictures, the first as bright as ``value``, each next one brighter by one."""
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = file.suffix if file.suffix in (".jpg", ".png") else ".png"
        data = cv2.imencode(kind, np.full((side, side), value + number, np.uint8))[1]
        file.write_bytes(data.tobytes())


def classes_of(pictures: PictureSet) -> dict[str, str]:
    """Name → class of the largest share."""
    return {picture.name: pictures.classes[int(np.argmax(picture.label))] for picture in pictures.pictures}


def parts_of(pictures: PictureSet) -> dict[str, str]:
    return {picture.name: picture.part for picture in pictures.pictures}


def reasons(pictures: PictureSet) -> dict[str, str]:
    return dict(pictures.skipped)


class TestClassFolders:
    def test_parts_of_any_usual_name_at_any_depth(self, tmp_path: Path) -> None:
        files = (
            "set/Train/happy/2.png",
            "set/Train/happy/10.png",
            "set/valid/sad/1.jpg",
            "set/test/sad/3.png",
        )
        draw(*(tmp_path / file for file in files))
        pictures = find_pictures(tmp_path)
        assert list(parts_of(pictures).items()) == [
            ("set/test/sad/3.png", "test"),
            ("set/Train/happy/2.png", "train"),
            ("set/Train/happy/10.png", "train"),
            ("set/valid/sad/1.jpg", "val"),
        ]
        assert classes_of(pictures)["set/test/sad/3.png"] == "Sad"
        assert (pictures.classes, pictures.faces, pictures.skipped) == (("Happy", "Sad"), "whole", ())

    def test_a_class_folder_may_hold_folders(self, tmp_path: Path) -> None:
        draw(
            tmp_path / "set/Happy/anna/1.png", tmp_path / "set/Happy/2.png", tmp_path / "set/Sad/ben/x/3.png"
        )
        pictures = find_pictures(tmp_path)
        assert set(classes_of(pictures).values()) == {"Happy", "Sad"}
        assert parts_of(pictures)["set/Happy/anna/1.png"] == ""

    def test_what_operating_systems_add_is_passed_over(self, tmp_path: Path) -> None:
        draw(tmp_path / "Happy/1.png", tmp_path / "Sad/1.png", tmp_path / "__MACOSX/Fear/1.png")
        draw(tmp_path / "Sad/._1.png", tmp_path / ".trash/Disgust/1.png")
        assert list(classes_of(find_pictures(tmp_path))) == ["Happy/1.png", "Sad/1.png"]

    def test_images_outside_of_class_folders_are_told(self, tmp_path: Path) -> None:
        draw(tmp_path / "train/Happy/1.png", tmp_path / "train/Sad/1.png", tmp_path / "more/Sad/1.png")
        draw(tmp_path / "train/2.png", tmp_path / "train/3.png")
        assert reasons(find_pictures(tmp_path)) == {
            "more/Sad": "not in a class folder; 1 picture not used",
            "train": "not in a class folder; 2 pictures not used",
        }

    def test_a_class_without_a_picture_is_told(self, tmp_path: Path) -> None:
        draw(tmp_path / "train/Happy/1.png", tmp_path / "train/Sad/1.png")
        (tmp_path / "train/Fear").mkdir()
        assert find_pictures(tmp_path).notes == ("without any picture: train/Fear",)

    def test_names_keep_their_case_but_for_the_known_emotions(self, tmp_path: Path) -> None:
        draw(tmp_path / "ANGRY/1.png", tmp_path / "bored/1.png", tmp_path / "happiness/1.png")
        assert find_pictures(tmp_path).classes == ("Angry", "bored", "happiness")

    @pytest.mark.parametrize(("one", "other"), [("Happy", "happy"), ("Happy", "happiness"), ("Calm", "calm")])
    def test_classes_that_seem_the_same_are_asked_about(self, tmp_path: Path, one: str, other: str) -> None:
        draw(tmp_path / f"train/{one}/1.png", tmp_path / f"test/{other}/2.png", tmp_path / "train/Sad/1.png")
        with pytest.raises(PretrainError, match=f"'{one}' and '{other}' seem to be the same.*--labels"):
            find_pictures(tmp_path)
        kept = {one.casefold(): one, other.casefold(): one, "sad": "Sad"}
        assert find_pictures(tmp_path, labels=kept).classes == (one, "Sad")

    def test_classes_that_seem_the_same_may_be_two(self, tmp_path: Path) -> None:
        draw(tmp_path / "joy/1.png", tmp_path / "Happy/1.png", tmp_path / "Sad/1.png")
        assert find_pictures(tmp_path, labels={"joy": "joy", "happy": "Happy", "sad": "Sad"}).classes == (
            "Happy",
            "Sad",
            "joy",
        )

    def test_the_order_does_not_depend_on_the_disk(self, tmp_path: Path) -> None:
        names = [f"{label}/{number}.png" for label in ("Sad", "Happy") for number in (10, 9, 100)]
        for folder in ("one", "two"):
            draw(*(tmp_path / folder / name for name in names))
            names.reverse()
        orders = [list(classes_of(find_pictures(tmp_path / folder))) for folder in ("one", "two")]
        assert orders[0] == orders[1] == [f"{c}/{n}.png" for c in ("Happy", "Sad") for n in (9, 10, 100)]

    def test_labels_and_without_must_name_classes(self, tmp_path: Path) -> None:
        draw(tmp_path / "Happy/1.png", tmp_path / "Sad/1.png", tmp_path / "Fear/1.png")
        with pytest.raises(
            PretrainError, match="unknown class 'joy', so it cannot be kept; the classes are Fear, Happy, Sad"
        ):
            find_pictures(tmp_path, labels={"joy": "Happy"})
        with pytest.raises(PretrainError, match="unknown class 'Joy', so it cannot be left out"):
            find_pictures(tmp_path, without=("Joy",))
        pictures = find_pictures(tmp_path, without=("Fear",))
        assert (pictures.classes, pictures.notes) == (
            ("Happy", "Sad"),
            ("1 picture of Fear left out, as asked",),
        )

    def test_too_little_is_one_error_that_shows_the_layouts(self, tmp_path: Path) -> None:
        for files in ((), ("Happy/1.png",), ("1.png", "2.png")):
            draw(*(tmp_path / file for file in files))
            with pytest.raises(NotThisLayout, match=r"no labelled pictures in .*\n.*fer2013\.csv") as caught:
                find_pictures(tmp_path)
            assert "folders: Happy/one.jpg" in str(caught.value)
        with pytest.raises(NotThisLayout, match="is not laid out as 'folders': expected two or more folders"):
            find_pictures(tmp_path, "folders")

    def test_wrong_arguments(self, tmp_path: Path) -> None:
        with pytest.raises(PretrainError, match="does not exist: name a folder"):
            find_pictures(tmp_path / "absent")
        with pytest.raises(PretrainError, match="no data set 'zip', expected one of auto, ferplus"):
            find_pictures(tmp_path, "zip")
        with pytest.raises(PretrainError, match="no vote rule 'mean', expected majority or soft"):
            find_pictures(tmp_path, votes="mean")
        draw(tmp_path / "Happy/1.png", tmp_path / "Sad/1.png")
        with pytest.raises(PretrainError, match="has no face boxes"):
            find_pictures(tmp_path, faces="box")


def fer2013_row(emotion: object, value: int, usage: str = "Training") -> list[object]:
    return [emotion, " ".join(map(str, face(value).ravel())), usage]


def face(value: int) -> np.ndarray:
    """48 × 48 values that differ by ``value``."""
    return (np.arange(48 * 48).reshape(48, 48) * 7 + value * 31) % 256


def write_csv(path: Path, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def write_fer2013(path: Path, *rows: Sequence[object]) -> Path:
    return write_csv(path, ["emotion", "pixels", "Usage"], *rows)


class TestFer2013:
    def test_labels_parts_and_pixels(self, tmp_path: Path) -> None:
        usages = ["Training"] * 5 + ["PublicTest", "PrivateTest"]
        write_fer2013(tmp_path / "fer2013/fer2013.csv", *(fer2013_row(n, n, u) for n, u in enumerate(usages)))
        pictures = find_pictures(tmp_path)
        names = [f"fer2013.csv line {n}" for n in range(2, 9)]
        assert classes_of(pictures) == dict(
            zip(names, ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"), strict=True)
        )
        assert list(parts_of(pictures).values()) == ["train"] * 5 + ["val", "test"]
        assert (pictures.name, pictures.classes) == ("FER2013", SEVEN)
        assert "research" in pictures.licence
        for number, picture in enumerate(pictures.pictures):
            np.testing.assert_array_equal(picture.read(), face(number))

    def test_the_other_release_has_other_columns(self, tmp_path: Path) -> None:
        rows = [
            (emotion, usage, pixels)
            for emotion, pixels, usage in (fer2013_row(3, 1), fer2013_row(4, 2, "PublicTest"))
        ]
        write_csv(tmp_path / "icml_face_data.csv", ["emotion", " Usage", " pixels"], *rows)
        pictures = find_pictures(tmp_path / "icml_face_data.csv")
        assert list(classes_of(pictures).values()) == ["Happy", "Sad"]
        assert list(parts_of(pictures).values()) == ["train", "val"]
        np.testing.assert_array_equal(pictures.pictures[1].read(), face(2))

    def test_a_table_of_any_name_and_without_parts(self, tmp_path: Path) -> None:
        table = write_csv(
            tmp_path / "train.csv", ["emotion", "pixels"], fer2013_row(0, 1)[:2], fer2013_row(6, 2)[:2]
        )
        assert parts_of(find_pictures(table)) == {"train.csv line 2": "", "train.csv line 3": ""}

    def test_a_bad_row_costs_one_picture(self, tmp_path: Path) -> None:
        short, large, word = (fer2013_row(1, n) for n in range(3))
        short[1] = "1 2 3"
        large[1] = str(large[1]).replace(" 7 ", " 256 ", 1)
        word[1] = str(word[1]).replace(" 7 ", " seven ", 1)
        rows = [
            fer2013_row(7, 1),
            fer2013_row("", 1),
            fer2013_row(1, 1, "Testing"),
            [1, "1 2"],
            short,
            large,
            word,
        ]
        write_fer2013(tmp_path / "fer2013.csv", *rows, [], fer2013_row(2, 5))
        pictures = find_pictures(tmp_path)
        assert reasons(pictures) == {
            "fer2013.csv line 2": "emotion '7', expected 0 to 6",
            "fer2013.csv line 3": "emotion '', expected 0 to 6",
            "fer2013.csv line 4": "Usage 'Testing', expected Training, PublicTest, PrivateTest",
            "fer2013.csv line 5": "2 values, expected 3: emotion, pixels, usage",
        }
        *bad, good = pictures.pictures
        for picture, reason in zip(bad, ("3 pixels, expected 2304", "0 to 255", "0 to 255"), strict=True):
            with pytest.raises(PretrainError, match=reason):
                picture.read()
        assert good.name == "fer2013.csv line 10"
        np.testing.assert_array_equal(good.read(), face(5))

    def test_the_text_is_not_held(self, tmp_path: Path) -> None:
        table = write_fer2013(tmp_path / "fer2013.csv", *(fer2013_row(n % 7, n) for n in range(600)))
        tracemalloc.start()
        pictures = find_pictures(table)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(pictures.pictures) == 600
        assert held < peak < table.stat().st_size / 4

    def test_what_is_no_table_is_one_error(self, tmp_path: Path) -> None:
        table = tmp_path / "fer2013.csv"
        table.write_text("<!DOCTYPE html><html>sign in</html>", encoding="utf-8")
        with pytest.raises(
            PretrainError, match="expected the columns emotion, pixels and Usage; it begins '<!DOCTYPE"
        ):
            find_pictures(tmp_path)
        write_fer2013(table)
        with pytest.raises(PretrainError, match="read as FER2013, has no picture that can be used"):
            find_pictures(tmp_path)
        table.write_bytes(b"emotion,pixels,Usage\n0," + b"1 " * 600_000)
        with pytest.raises(PretrainError, match="line 2 has more than a million bytes"):
            find_pictures(tmp_path)


def plain_majority(votes: Sequence[int]) -> str | None:
    """As facts.md has it: zero single votes, need more than half; drop unknown and NF."""
    votes = [0 if count == 1 else count for count in votes]
    for place, count in enumerate(votes):
        if count / max(1, sum(votes)) > 0.5:
            return [
                "Neutral",
                "Happy",
                "Surprise",
                "Sad",
                "Angry",
                "Disgust",
                "Fear",
                "Contempt",
                None,
                None,
            ][place]
    return None


def random_votes(count: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.multinomial(10, rng.dirichlet(np.full(10, 0.3))).tolist() for _ in range(count)]


VOTES = {
    "Happy": (0, 8, 1, 0, 0, 0, 0, 0, 1, 0),
    "Contempt": (3, 0, 0, 0, 0, 0, 0, 7, 0, 0),
    "Sad": (1, 0, 0, 5, 4, 0, 0, 0, 0, 0),
    "split": (4, 0, 0, 4, 0, 0, 0, 0, 2, 0),
    "unknown": (3, 0, 0, 0, 0, 0, 0, 0, 7, 0),
    "no face": (0, 0, 0, 0, 0, 0, 0, 0, 0, 10),
}


class TestFerPlus:
    def test_majority_is_the_rule_of_facts(self) -> None:
        votes = random_votes(3000)
        found = [majority(row) for row in votes]
        assert found == [plain_majority(row) for row in votes]
        assert {*found} == {*FERPLUS_CLASSES, None}

    def test_shares_are_those_of_the_votes(self) -> None:
        kept = 0
        for row in random_votes(3000):
            counted = np.where(np.array(row) > 1, row, 0)
            label = shares(row)
            if label is None:
                assert counted[:8].max() < counted[8:].max() or not counted[:8].any()
            else:
                kept += 1
                assert sum(label.values()) == pytest.approx(1, abs=1e-12)
                np.testing.assert_allclose(list(label.values()), counted[:8] / counted[:8].sum())
        assert kept > 1000

    @staticmethod
    def write(root: Path, names: Sequence[str] = tuple(VOTES), pixels: bool = True) -> Path:
        header = [
            "Usage",
            "Image name",
            "neutral",
            "happiness",
            "surprise",
            "sadness",
            "anger",
            "disgust",
            "fear",
        ]
        usages = ("Training", "PublicTest", "PrivateTest")
        rows = [(usages[n % 3], f"fer{n:07}.png", *VOTES[name]) for n, name in enumerate(names)]
        write_csv(root / "fer2013new.csv", [*header, "contempt", "unknown", "NF"], *rows)
        if pixels:
            write_fer2013(root / "fer2013.csv", *(fer2013_row(0, n, row[0]) for n, row in enumerate(rows)))
        return root

    def test_the_majority_beside_fer2013(self, tmp_path: Path) -> None:
        pictures = find_pictures(self.write(tmp_path))
        lines = [f"fer2013new.csv line {n}" for n in (2, 3, 4)]
        assert classes_of(pictures) == dict(zip(lines, ("Happy", "Contempt", "Sad"), strict=True))
        assert list(parts_of(pictures).values()) == ["train", "val", "test"]
        assert (pictures.name, pictures.classes, pictures.skipped) == ("FER+", HOUSE, ())
        assert pictures.notes == ("3 pictures without a majority for one emotion, left out as FER+ does",)
        np.testing.assert_array_equal(pictures.pictures[2].read(), face(2))
        assert find_pictures(tmp_path, "fer2013").name == "FER2013"

    def test_the_shares_of_votes(self, tmp_path: Path) -> None:
        pictures = find_pictures(self.write(tmp_path), votes="soft")
        labels = {picture.name: dict(zip(HOUSE, picture.label, strict=True)) for picture in pictures.pictures}
        assert [sum(picture.label) for picture in pictures.pictures] == pytest.approx([1] * 4)
        assert labels["fer2013new.csv line 3"]["Contempt"] == pytest.approx(0.7)
        assert labels["fer2013new.csv line 4"]["Sad"] == pytest.approx(5 / 9)
        assert labels["fer2013new.csv line 5"]["Neutral"] == pytest.approx(0.5)
        assert pictures.notes == ("2 pictures mostly voted no emotion, left out as FER+ does",)

    def test_seven_classes(self, tmp_path: Path) -> None:
        pictures = find_pictures(self.write(tmp_path), votes="soft", without=("Contempt",))
        assert pictures.classes == SEVEN
        assert [picture.name[-1] for picture in pictures.pictures] == ["2", "4", "5"]
        assert [sum(picture.label) for picture in pictures.pictures] == pytest.approx([1] * 3)

    def test_votes_on_other_pictures_are_refused(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        rows = [fer2013_row(0, n) for n in range(6)]
        write_fer2013(tmp_path / "fer2013.csv", *rows[:5])
        with pytest.raises(
            PretrainError, match=r"has 6 rows, .*fer2013\.csv has 5: expected the same pictures"
        ):
            find_pictures(tmp_path)
        write_fer2013(tmp_path / "fer2013.csv", *rows)
        with pytest.raises(
            PretrainError, match=r"line 3 is of PublicTest, fer2013\.csv line 3 is of Training"
        ):
            find_pictures(tmp_path)

    def test_what_is_no_table_of_votes_is_one_error(self, tmp_path: Path) -> None:
        table = self.write(tmp_path) / "fer2013new.csv"
        whole = table.read_text(encoding="utf-8")
        table.write_text(whole.replace("unknown", "other"), encoding="utf-8")
        with pytest.raises(
            PretrainError, match=r"expected the columns usage,image name,.*; found 'Usage,.*,other,NF'"
        ):
            find_pictures(tmp_path)
        table.write_text(whole + '"' + "x" * 200_000, encoding="utf-8")
        with pytest.raises(
            PretrainError, match=r"fer2013new\.csv' line 8 is not valid CSV: field larger than"
        ):
            find_pictures(tmp_path)

    def test_a_count_that_no_people_gave_is_no_vote(self, tmp_path: Path) -> None:
        table = self.write(tmp_path) / "fer2013new.csv"
        first, row, *others = table.read_text(encoding="utf-8").splitlines()
        cells = row.split(",")
        for votes in ("9" * 5000, "10000", "-1", "1.5"):
            cells[3] = votes
            table.write_text("\n".join([first, ",".join(cells), *others]), encoding="utf-8")
            assert reasons(find_pictures(tmp_path)).keys() == {"fer2013new.csv line 2"}
        table.write_text('Usage,"Image\nname"\n', encoding="utf-8")
        with pytest.raises(PretrainError) as caught:
            find_pictures(tmp_path)
        assert "\n" not in str(caught.value)

    def test_votes_in_another_order_are_refused(self, tmp_path: Path) -> None:
        names = [("Happy", "Sad", "Contempt")[n % 3] for n in range(480)]
        self.write(tmp_path, names, pixels=False)
        codes = {"Happy": 3, "Sad": 4, "Contempt": 6}
        usages = ("Training", "PublicTest", "PrivateTest")
        for shift, fits in ((0, True), (3, True), (1, False)):
            rows = [fer2013_row(codes[names[n - shift]], 0, usages[n % 3]) for n in range(480)]
            write_fer2013(tmp_path / "fer2013.csv", *rows)
            if fits:
                assert len(find_pictures(tmp_path).pictures) == 480
            else:
                with pytest.raises(
                    PretrainError, match=r"agree with the emotions in .* on only 0 of 480 pictures"
                ):
                    find_pictures(tmp_path)

    def test_folders_with_lists(self, tmp_path: Path) -> None:
        for folder, first in (("FER2013Train", 0), ("FER2013Valid", 3)):
            names = list(VOTES)[first : first + 3]
            rows = [(f"fer{n}.png", "(0, 0, 48, 48)", *VOTES[name]) for n, name in enumerate(names, first)]
            write_csv(tmp_path / "data" / folder / "label.csv", *rows, ["fer9.png", "(0, 0, 48, 48)", "x"])
            draw(*(tmp_path / "data" / folder / row[0] for row in rows if row[0] != "fer1.png"), value=first)
        pictures = find_pictures(tmp_path)
        assert classes_of(pictures) == {
            "FER2013Train/label.csv line 1": "Happy",
            "FER2013Train/label.csv line 3": "Sad",
        }
        assert reasons(pictures) == {
            "FER2013Train/label.csv line 2": f"there is no picture {tmp_path}/data/FER2013Train/fer1.png",
            "FER2013Train/label.csv line 4": "votes 'x', expected 10 whole numbers",
            "FER2013Valid/label.csv line 4": "votes 'x', expected 10 whole numbers",
        }
        assert pictures.pictures[0].read().max() == 0

    def test_votes_beside_folders(self, tmp_path: Path) -> None:
        self.write(tmp_path, pixels=False)
        with pytest.raises(
            PretrainError, match=r"holds votes, but there are no pictures: put fer2013\.csv beside"
        ):
            find_pictures(tmp_path)
        draw(tmp_path / "FER2013Train/fer0000000.png", tmp_path / "FER2013Test/fer0000002.png", value=50)
        pictures = find_pictures(tmp_path)
        assert list(parts_of(pictures).values()) == ["train", "test"]
        assert pictures.pictures[1].read().max() == 51
        assert "there is no picture PublicTest/fer0000001.png" in reasons(pictures).values()


class TestRafDb:
    LINES = ("train_00001.jpg 5", "train_00002.jpg 4", "test_0001.jpg 7")

    @staticmethod
    def write(root: Path, *lines: str, folder: str = "aligned") -> Path:
        (root / "EmoLabel").mkdir(parents=True, exist_ok=True)
        (root / "EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        ending = "_aligned.jpg" if folder == "aligned" else ".jpg"
        draw(*(root / "Image" / folder / line.split()[0].replace(".jpg", ending) for line in lines))
        return root

    def test_aligned_pictures(self, tmp_path: Path) -> None:
        pictures = find_pictures(self.write(tmp_path / "RAF/basic", *self.LINES).parent)
        names = ("train_00001.jpg", "train_00002.jpg", "test_0001.jpg")
        assert classes_of(pictures) == dict(zip(names, ("Sad", "Happy", "Neutral"), strict=True))
        assert list(parts_of(pictures).values()) == ["train", "train", "test"]
        assert (pictures.classes, pictures.faces, pictures.name) == (SEVEN, "whole", "RAF-DB")
        assert pictures.pictures[1].read().mean() == pytest.approx(101, abs=2)

    def test_original_pictures_are_searched_for_faces(self, tmp_path: Path) -> None:
        self.write(tmp_path, *self.LINES, folder="original")
        assert find_pictures(tmp_path).faces == "detect"
        self.write(tmp_path, *self.LINES)
        assert find_pictures(tmp_path).faces == "whole"
        pictures = find_pictures(tmp_path, faces="detect")
        assert [picture.file for picture in pictures.pictures][:1] == [
            tmp_path / "Image/original/train_00001.jpg"
        ]

    def test_the_folders_in_which_it_is_passed_on(self, tmp_path: Path) -> None:
        draw(
            tmp_path / "DATASET/train/4/train_00001_aligned.jpg",
            tmp_path / "DATASET/test/1/test_0001_aligned.jpg",
        )
        pictures = find_pictures(tmp_path)
        assert list(classes_of(pictures).values()) == ["Surprise", "Happy"]
        assert list(parts_of(pictures).values()) == ["test", "train"]
        draw(tmp_path / "DATASET/test/2/other.jpg")
        with pytest.raises(PretrainError, match=r"not named after an emotion: 1 1, 2 1, 4 1\. --dataset"):
            find_pictures(tmp_path)
        assert find_pictures(tmp_path, "folders").classes == ("1", "2", "4")

    def test_a_picture_outside_of_the_folders_costs_itself(self, tmp_path: Path) -> None:
        draw(*(tmp_path / f"train/{code}/train_0000{i}.jpg" for i, code in enumerate("1234512345")))
        draw(tmp_path / "train_00010.jpg")
        pictures = find_pictures(tmp_path)
        assert (pictures.name, len(pictures.pictures)) == ("RAF-DB", 10)
        assert reasons(pictures) == {"train_00010.jpg": "in none of the folders 1 to 7"}

    def test_a_bad_line_costs_one_picture(self, tmp_path: Path) -> None:
        lines = (
            *self.LINES * 40,
            "train_00003.jpg 0",
            "train_00004.jpg",
            "other.jpg 3",
            "train_00009.jpg 11",
        )
        self.write(tmp_path, *lines)
        (tmp_path / "Image/aligned/train_00002_aligned.jpg").unlink()
        pictures = find_pictures(tmp_path)
        assert len(pictures.pictures) == 80
        assert reasons(pictures) == {
            "train_00002.jpg": f"there is no picture {tmp_path}/Image/aligned/train_00002_aligned.jpg",
            "train_00003.jpg": "expression '0', expected 1 to 7",
            "train_00009.jpg": "expression '11', expected 1 to 7",
            "list_patition_label.txt line 122": "'train_00004.jpg', expected a file name and a number",
            "other.jpg": "named neither train_… nor test_…",
        }

    def test_compound_emotions_are_not_taken_for_basic_ones(self, tmp_path: Path) -> None:
        self.write(tmp_path / "compound", "train_0001.jpg 9", "train_0002.jpg 3", "train_0003.jpg 11")
        with pytest.raises(PretrainError, match="codes of RAF-DB's compound emotions"):
            find_pictures(tmp_path)
        self.write(tmp_path / "the/basic", *self.LINES)
        assert len(find_pictures(tmp_path).pictures) == 3

    def test_labels_without_pictures_are_one_error(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        with pytest.raises(
            PretrainError, match=r"holds labels, but there are no pictures: expected .*Image/aligned"
        ):
            find_pictures(tmp_path)


class TestAffectNet:
    HEADER = (
        *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"),
        *("expression", "valence", "arousal"),
    )

    @classmethod
    def write(cls, table: Path, *rows: tuple[str, object], box: Sequence[object] = (2, 3, 4, 5)) -> None:
        write_csv(table, cls.HEADER, *((name, *box, "1.5;2.5;3", code, 0.1, -0.2) for name, code in rows))

    def test_tables_and_their_boxes(self, tmp_path: Path) -> None:
        lists, folder = tmp_path / "Manually_Annotated_file_lists", tmp_path / "Manually_Annotated_Images"
        self.write(lists / "training.csv", *((f"{n}/{n}.jpg", n) for n in range(8)))
        self.write(lists / "validation.csv", ("9/0.jpg", 7))
        draw(*(folder / f"{n}/{n}.jpg" for n in range(8)), folder / "9/0.jpg")
        pictures = find_pictures(tmp_path)
        expected = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Angry", "Contempt", "Contempt")
        assert tuple(classes_of(pictures).values()) == expected
        assert list(parts_of(pictures).values()) == ["train"] * 8 + ["val"]
        assert (pictures.classes, pictures.faces, pictures.pictures[0].box) == (HOUSE, "box", (2, 3, 6, 8))
        assert find_pictures(tmp_path, faces="whole").faces == "whole"
        seven = find_pictures(tmp_path, without=("Contempt",))
        assert (seven.classes, len(seven.pictures)) == (SEVEN, 7)
        assert seven.notes == ("2 pictures of Contempt left out, as asked",)
        assert len(find_pictures(lists / "training.csv").pictures) == 8
        self.write(tmp_path / "copy/training.csv", ("0/0.jpg", 0))
        assert len(find_pictures(tmp_path).pictures) == len(pictures.pictures)

    def test_a_bad_row_costs_one_picture(self, tmp_path: Path) -> None:
        rows = [
            ("a.jpg", 0),
            ("b.jpg", 1),
            ("c.jpg", 8),
            ("d.jpg", 10),
            ("e.jpg", 11),
            ("f.jpg", 2),
            ("g.jpg", ""),
        ]
        self.write(tmp_path / "training.csv", *rows)
        draw(*(tmp_path / f"{letter}.jpg" for letter in "abcdeg"))
        with (tmp_path / "training.csv").open("a") as file:
            file.write(
                "a.jpg,NULL,1,1,1,,0,0,0\nb.jpg,nan,1,1,1,,0,0,0\nb.jpg,1\n" + "n" * 999 + ",1,1,1,1,,0\n"
            )
        pictures = find_pictures(tmp_path)
        assert list(classes_of(pictures).values()) == ["Neutral", "Happy"]
        assert pictures.notes == ("2 pictures left out: labelled none, uncertain, no face",)
        assert pictures.skipped[-1].reason.startswith("there is no picture")
        assert [(skipped.name, skipped.reason) for skipped in pictures.skipped[:-1]] == [
            ("e.jpg", "expression '11', expected 0 to 10"),
            ("f.jpg", f"there is no picture {tmp_path}/f.jpg"),
            ("g.jpg", "expression '', expected 0 to 10"),
            ("a.jpg", "its face box is 'NULL,1,1,1', expected x, y, width and height"),
            ("b.jpg", "its face box is 'nan,1,1,1', expected x, y, width and height"),
            ("b.jpg", "its face box is '1,,,', expected x, y, width and height"),
        ]

    def test_images_that_are_elsewhere_are_one_error(self, tmp_path: Path) -> None:
        self.write(tmp_path / "training.csv", ("1/a.jpg", 0), ("1/b.jpg", 1))
        with pytest.raises(
            PretrainError, match=r"none of its first 2 pictures is there: expected .*Images/1/a.jpg"
        ):
            find_pictures(tmp_path)

    def test_the_release_of_cut_out_faces(self, tmp_path: Path) -> None:
        for folder, codes in (("train_set", {2: "0", 10: "1"}), ("val_set", {2: "7", 3: "10"})):
            for number, code in codes.items():
                draw(tmp_path / f"{folder}/images/{number}.jpg")
                (tmp_path / folder / "annotations").mkdir(exist_ok=True)
                np.save(tmp_path / f"{folder}/annotations/{number}_exp.npy", np.array(code))
                np.save(tmp_path / f"{folder}/annotations/{number}_val.npy", np.array("0.5"))
        annotations = tmp_path / "train_set/annotations"
        draw(*(tmp_path / f"train_set/images/{number}.jpg" for number in (20, 21, 22)))
        np.save(annotations / "20_exp.npy", np.array([{"a": 1}], object), allow_pickle=True)
        np.save(annotations / "21_exp.npy", np.arange(3))
        np.save(annotations / "30_exp.npy", np.array(6))
        draw(tmp_path / "train_set/images/23.jpg", tmp_path / "train_set/images/24.jpg")
        header, value = b"\x93NUMPY\x01\0", np.array("1").tobytes()
        (annotations / "23_exp.npy").write_bytes(header + b"\x02\0{\n" + value)  # a header without its end
        whole = (annotations / "2_exp.npy").read_bytes()
        (annotations / "24_exp.npy").write_bytes(whole[:-4] + b"\xff" * 4)  # a character beyond Unicode
        pictures = find_pictures(tmp_path)
        assert classes_of(pictures) == {
            "train_set/2": "Neutral",
            "train_set/10": "Happy",
            "val_set/2": "Contempt",
        }
        assert parts_of(pictures) == {"train_set/2": "train", "train_set/10": "train", "val_set/2": "val"}
        assert pictures.faces == "whole"
        told = reasons(pictures)
        assert told.keys() == {f"train_set/{number}" for number in (20, 21, 22, 23, 24, 30)}
        assert "allow_pickle=False" in told["train_set/20"]
        assert told["train_set/21"] == "its annotation cannot be read: 3 values, expected one"
        assert all("annotation cannot be read" in told[f"train_set/{number}"] for number in (23, 24))
        assert told["train_set/22"] == "there is no annotation 22_exp.npy"
        assert told["train_set/30"] == f"there is no picture {tmp_path}/train_set/images/30.jpg"

    def test_a_table_of_other_columns_is_told(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "training.csv", self.HEADER[:4], ["a.jpg", 1, 2, 3])
        draw(tmp_path / "a.jpg")
        with pytest.raises(PretrainError, match="there is no column face_height, expression; fetch it again"):
            find_pictures(tmp_path)


@pytest.fixture(scope="module")
def faces(shared: Path) -> tuple[list[np.ndarray], list[str]]:
    """200 pictures with their classes, some of each."""
    file = shared / "data/fer2013/train.npz"
    if not file.is_file():
        pytest.skip("needs FER2013's training pictures, ../shared/data/fer2013/train.npz, which are not here")
    with np.load(file) as stored:
        blob, offsets, labels = stored["webp"], stored["offsets"], stored["labels"]
        names = [str(name) for name in stored["classes"]]
    rows = np.concatenate([np.flatnonzero(labels == place)[:29] for place in range(len(names))])[:200]
    images = [cv2.imdecode(blob[offsets[row] : offsets[row + 1]], cv2.IMREAD_GRAYSCALE) for row in rows]
    return images, [names[label] for label in labels[rows]]


class TestRealFer2013:
    def test_class_folders_and_the_table_give_the_same(
        self, faces: tuple[list[np.ndarray], list[str]], tmp_path: Path
    ) -> None:
        images, labels = faces
        codes = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
        rows = []
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (tmp_path / "folders" / label).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "folders" / label / f"{number:05}.png"), image)
            rows.append((codes.index(label), " ".join(map(str, image.ravel())), "Training"))
        write_fer2013(tmp_path / "table/fer2013.csv", *rows)
        folders, table = find_pictures(tmp_path / "folders"), find_pictures(tmp_path / "table")
        assert folders.classes == table.classes == SEVEN
        by_number = {int(Path(picture.name).stem): picture for picture in folders.pictures}
        assert len(table.pictures) == len(by_number) == 200
        for number, picture in enumerate(table.pictures):
            assert picture.label == by_number[number].label
            np.testing.assert_array_equal(picture.read(), images[number])
            np.testing.assert_array_equal(by_number[number].read(), images[number])
