"""Finding clips: trees of empty files in the layouts that data sets come in, and the real Java-SED folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from avemo.cache.clips import Clip
from avemo.pipelines.corpora.clips.find import FoundClips, find_clips
from avemo.pipelines.errors import DatasetError, NotThisDataset

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def grow(root: Path, *files: str) -> Path:
    """Create empty files below ``root``."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def keys(found: FoundClips) -> list[str]:
    return [str(clip) for clip in found.clips]


def labels(found: FoundClips) -> dict[str, str | None]:
    return {clip.id: clip.label for clip in found.clips}


def reason(found: FoundClips, path: str) -> str:
    """The one reason, with its detail, why ``path`` was left out."""
    (text,) = (item.why for item in found.left_out if item.path == path)
    return text


def afew_files(train: str, val: str, test: str) -> list[str]:
    files = [f"{train}/{name}/00000{i}4{i}0.avi" for i, name in enumerate(CLASSES)]
    files += [f"{val}/{name}/00000{i}4{i}4.avi" for i, name in enumerate(CLASSES)]
    return [*files, f"{test}/000006280.avi", f"{test}/000010454.avi"]


class TestAfew:
    @pytest.mark.parametrize(
        ("train", "val", "test"),
        [
            ("Train_AFEW", "Val_AFEW", "Test_AFEW"),
            ("Train", "Val", "Test/Test_vid_Distribute"),
            ("train", "val", "test"),
            ("AFEW 2019/Train_AFEW/Train_AFEW", "AFEW 2019/Val_AFEW/videos", "AFEW 2019/Test_2019/Test_AFEW"),
        ],
    )
    def test_known_nestings(self, tmp_path: Path, train: str, val: str, test: str) -> None:
        root = grow(tmp_path / "data", *afew_files(train, val, test))
        found = find_clips(root)
        assert found.dataset == "AFEW"
        assert found.left_out == []
        each = dict.fromkeys(CLASSES, 1)
        assert found.counts == {"train": each, "val": each, "test": {"unlabelled": 2}}
        first = root / train / "Angry" / "000000400.avi"
        assert found.clips[0] == Clip("000000400", "train", str(first), "Angry")
        assert first.is_file()
        assert keys(found)[-2:] == ["test/000006280", "test/000010454"]

    def test_the_root_may_be_a_split_folder(self, tmp_path: Path) -> None:
        grow(tmp_path, *afew_files("Train_AFEW", "Val_AFEW", "Test_AFEW"))
        assert find_clips(tmp_path / "Val_AFEW").counts == {"val": dict.fromkeys(CLASSES, 1)}
        assert find_clips(tmp_path / "Test_AFEW").counts == {"test": {"unlabelled": 2}}

    def test_a_test_part_with_class_folders_is_labelled(self, tmp_path: Path) -> None:
        grow(tmp_path, "Train/Sad/1.avi", "Test/Happy/2.avi", "Test/Happi/3.avi", "Test/4.avi")
        found = find_clips(tmp_path, "afew")
        assert found.counts == {"train": {"Sad": 1}, "test": {"Happy": 1}}
        assert reason(found, "Test/Happi").startswith("unknown class folder 'Happi'")
        assert reason(found, "Test").startswith("lies in split 'test' outside of its class folders")

    def test_one_id_in_two_splits_is_two_clips(self, tmp_path: Path) -> None:
        grow(tmp_path, "Train/Sad/1.avi", "Val/Happy/1.avi", "Test/1.avi")
        assert keys(find_clips(tmp_path, "afew")) == ["train/1", "val/1", "test/1"]

    def test_own_folders_with_the_same_classes_are_not_taken_for_it(self, tmp_path: Path) -> None:
        """AFEW's names are nine digits: Val/Angry/000046280.avi, Test_vid_Distribute/000029320.avi."""
        found = find_clips(grow(tmp_path, "Train/Sad/tom 1.avi", "Train/Happy/tom 1.avi", "Val/Sad/2.avi"))
        assert (found.name, found.dataset) == ("folders", "class folders (2 classes)")
        assert keys(found) == ["train/Happy/tom 1", "train/Sad/tom 1", "val/Sad/2"]
        grow(tmp_path / "AFEW", "Train/Sad/1.avi", "Train/Happy/2.avi")
        assert find_clips(tmp_path / "AFEW").name == "afew"  # whoever calls a folder so means it

    def test_one_id_twice_in_a_split_stays_once_and_both_files_are_named(self, tmp_path: Path) -> None:
        grow(tmp_path, "Train/Sad/1.avi", "Train/Angry/1.avi")
        found = find_clips(tmp_path, "afew")
        assert labels(found) == {"1": "Angry"}
        assert len(found.problems) == 1
        assert reason(found, "Train/Sad/1.avi") == (
            "has the same name as a file that is used: rename one of them ('Train/Angry/1.avi' has the id "
            "'1' in split 'train' too)"
        )

    def test_an_unknown_class_folder_is_reported_once_and_not_used(self, tmp_path: Path) -> None:
        grow(tmp_path, *afew_files("Train", "Val", "Test"), "Train/Angryy/1.avi", "Train/Angryy/2.avi")
        found = find_clips(tmp_path)
        assert len(found.left_out) == 1
        assert reason(found, "Train/Angryy") == (
            "unknown class folder 'Angryy' (expected one of Angry, Disgust, Fear, Happy, Neutral, Sad, "
            "Surprise) (2 files not used)"
        )

    def test_clips_outside_of_the_splits_are_reported(self, tmp_path: Path) -> None:
        found = find_clips(grow(tmp_path, *afew_files("Train", "Val", "Test"), "extra/a.mp4"))
        assert reason(found, "extra") == "not inside a folder Train, Val or Test (1 file not used)"

    def test_train_with_mostly_other_classes_is_not_afew(self, tmp_path: Path) -> None:
        grow(tmp_path, "train/Happy/000000001.mp4", "train/Bored/2.mp4", "train/Confused/3.mp4")
        found = find_clips(tmp_path)
        assert found.dataset == "class folders (3 classes)"
        assert found.counts == {"train": {"Bored": 1, "Confused": 1, "Happy": 1}}


class TestClassFolders:
    def test_without_splits(self, tmp_path: Path) -> None:
        found = find_clips(grow(tmp_path, "joy/a 10.mp4", "joy/a 2.mp4", "très triste/ü.MKV"))
        assert found.dataset == "class folders (2 classes)"
        assert keys(found) == ["all/joy/a 2", "all/joy/a 10", "all/très triste/ü"]
        assert labels(found) == {"joy/a 2": "joy", "joy/a 10": "joy", "très triste/ü": "très triste"}

    def test_with_splits_inside_one_outer_folder(self, tmp_path: Path) -> None:
        files = ["set/train/joy/a.mp4", "set/train/rage/b.mp4", "set/Validation/joy/c.mp4", "set/test/d.mp4"]
        found = find_clips(grow(tmp_path, *files))
        assert found.counts == {"train": {"joy": 1, "rage": 1}, "val": {"joy": 1}, "test": {"unlabelled": 1}}

    def test_an_id_is_the_path_without_the_folder_of_the_split(self, tmp_path: Path) -> None:
        files = ["train/joy/1.mp4", "train/rage/1.mp4", "train/rage/2.b.mp4", "val/joy/1.mp4", "test/3.mp4"]
        found = find_clips(grow(tmp_path, *files))
        assert keys(found) == ["train/joy/1", "train/rage/1", "train/rage/2.b", "val/joy/1", "test/3"]
        assert keys(find_clips(grow(tmp_path / "outer", *(f"set/{file}" for file in files))))[0] == (
            "train/set/joy/1"
        )

    @pytest.mark.parametrize("layout", ["auto", "flat", "manifest"])
    def test_no_other_file_has_a_part_in_an_id(self, tmp_path: Path, layout: str) -> None:
        """All subsets of a folder, with and without names that repeat: a path has one id in all of them."""
        files = ["joy/a.mp4", "joy/b.mp4", "rage/a.mp4", "rage/c.mp4", "fear/d.mp4", "fear/d.wav"]
        ids: dict[str, set[str]] = {}
        for number, some in enumerate(combinations(files, 4)):
            root = grow(tmp_path / f"{number}/set", *some)
            if layout == "manifest":
                (root / "clips.csv").write_text("path\n" + "\n".join(some) + "\n")
            manifest = root / "clips.csv" if layout == "manifest" else None
            for clip in find_clips(root, "flat" if layout == "flat" else "auto", manifest).clips:
                ids.setdefault(clip.path.removeprefix(f"{root}/"), set()).add(clip.id)
        assert ids == {file: {file.partition(".")[0]} for file in files}

    def test_a_sound_beside_its_video_is_left_out(self, tmp_path: Path) -> None:
        found = find_clips(grow(tmp_path, "joy/1.mp4", "joy/1.flac", "rage/2.wav"))
        assert labels(found) == {"joy/1": "joy", "rage/2": "rage"}
        assert reason(found, "joy/1.flac") == "sound only; the whole recording is used ('joy/1.mp4')"
        assert not found.problems

    def test_folders_that_name_no_emotion_are_not_guessed_to_be_classes(self, tmp_path: Path) -> None:
        files = [*(f"day {i}/{j}.mp4" for i in range(1, 4) for j in range(i)), "happy end/1.mp4"]
        root = grow(tmp_path, *files)
        with pytest.raises(
            DatasetError,
            match=r"may be classes, but most are not named after an emotion: day 3 3, day 2 2, day 1 1, "
            r"happy end 1\. --dataset folders uses them as classes, --dataset flat",
        ):
            find_clips(root)
        assert find_clips(root, "folders").dataset == "class folders (4 classes)"
        assert find_clips(root, "flat").counts == {"all": {"unlabelled": 7}}

    @pytest.mark.parametrize("names", [("01_Angry", "02_sad"), ("anger clips", "b"), ("HAP", "Neu", "oth")])
    def test_words_of_emotions_are_known_in_longer_names(self, tmp_path: Path, names: Sequence[str]) -> None:
        found = find_clips(grow(tmp_path, *(f"{name}/1.mp4" for name in names)))
        assert found.counts == {"all": dict.fromkeys(sorted(names), 1)}

    def test_ravdess_with_stray_files_is_not_24_classes(self, tmp_path: Path) -> None:
        grow(tmp_path, *(f"Actor_0{a}/01-01-0{e}-01-01-01-0{a}.mp4" for a in (1, 2) for e in range(1, 9)))
        grow(tmp_path, "Actor_01/take 1.mp4", "Actor_02/take 2.mp4")
        with pytest.raises(
            DatasetError,
            match=r"16 of 18 files are named like those of RAVDESS, too few to be sure; the first that is "
            r"not: 'Actor_01/take 1.mp4'. --dataset ravdess uses only these files",
        ):
            find_clips(tmp_path)
        assert len(find_clips(tmp_path, "ravdess").clips) == 16

    def test_meld_cut_into_sounds_of_other_names_is_not_three_classes(self, tmp_path: Path) -> None:
        splits = ("train_splits", "dev_splits_complete", "output_repeated_splits_test")
        grow(tmp_path, *(f"{split}/{i}.wav" for split in splits for i in range(3)))
        with pytest.raises(DatasetError, match="not named after an emotion: dev_splits_complete 3, "):
            find_clips(tmp_path)

    def test_deeper_files_are_reported(self, tmp_path: Path) -> None:
        root = grow(tmp_path, *(f"{name}/{i}.mp4" for name in "ab" for i in range(10)), "a/deep/x.mp4")
        assert reason(find_clips(root, "folders"), "a/deep") == "deeper than a class folder (1 file not used)"


class TestNames:
    def test_java_sed(self, shared: Path) -> None:
        found = find_clips(shared / "data/java_sed/clips")
        assert found.dataset == "Java-SED"
        each = dict.fromkeys(("Angry", "Fear", "Happy", "Neutral", "Sad", "Surprise"), 28)
        assert found.counts == {"all": each}
        assert len({clip.subject for clip in found.clips}) == 7
        assert found.left_out == []
        path = str(shared / "data/java_sed/clips/01-01-02_01.mp4")
        assert found.clips[1] == Clip("01-01-02_01", "all", path, "Sad", "01")

    def test_a_stranger_among_many_is_left_out(self, tmp_path: Path) -> None:
        grow(tmp_path, *(f"01-0{s}-0{e}_01.mp4" for s in range(1, 4) for e in range(1, 7)), "notes.mp4")
        found = find_clips(tmp_path)
        assert len(found.clips) == 18
        assert reason(found, "notes.mp4").startswith("is not named like 01-02-06_01.mp4 (fails at 'notes'")

    def test_too_many_strangers_are_asked_about(self, tmp_path: Path) -> None:
        grow(tmp_path, *(f"01-01-0{e}_01.mp4" for e in range(1, 7)), "notes.mp4")
        with pytest.raises(
            DatasetError, match=r"6 of 7 files are named like those of Java-SED.*'notes\.mp4'"
        ):
            find_clips(tmp_path)
        assert find_clips(tmp_path, "flat").dataset.startswith("unlabelled")
        named = find_clips(tmp_path, "java-sed")
        assert len(named.clips) == 6 and [item.path for item in named.problems] == ["notes.mp4"]

    def test_a_data_set_of_which_nothing_fits_names_three_files(self, tmp_path: Path) -> None:
        grow(tmp_path, "a.mp4", "b.mp4", "1001_DFA_XYZ_XX.mp4", "d.mp4")
        with pytest.raises(
            NotThisDataset,
            match=r"not laid out as 'crema-d'.* 4 of 4 .*'1001_DFA_XYZ_XX.mp4' fails at 'XYZ_XX', where "
            r"{emotion} \(ANG, .*'a.mp4' fails at 'a', .*'b.mp4' .*and 1 more",
        ):
            find_clips(tmp_path, "crema-d")


class TestManifest:
    def write(self, folder: Path, text: str, encoding: str = "utf-8") -> Path:
        path = folder / "clips.csv"
        path.write_bytes(text.encode(encoding))
        return path

    def test_columns_in_any_order(self, tmp_path: Path) -> None:
        grow(tmp_path, "videos/a b.mp4", "c.mp4")
        elsewhere = tmp_path / "c.mp4"
        text = "Label,path,subject,split,session,note\n"
        text += f'Happy,"videos/a b.mp4",p1,train,2,x\n\n,{elsewhere},,,\n'
        found = find_clips(tmp_path, manifest=self.write(tmp_path, text, "utf-8-sig"))
        assert found.clips == [
            Clip("videos/a b", "train", str(tmp_path / "videos/a b.mp4"), "Happy", "p1", "2"),
            Clip("c", "all", str(elsewhere)),
        ]
        assert found.dataset == "manifest clips.csv"

    def test_paths_are_relative_to_the_manifest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grow(tmp_path, "set/videos/a.mp4")
        self.write(tmp_path / "set", "path\nvideos/a.mp4\n")
        monkeypatch.chdir(tmp_path)
        found = find_clips(Path("anywhere"), manifest=Path("set/clips.csv"))
        assert found.clips[0].path == str(tmp_path / "set/videos/a.mp4")

    def test_ids(self, tmp_path: Path) -> None:
        grow(tmp_path, "x/1.mp4", "y/1.mp4", "z/2.mp4", "outside/3.mp4")
        rows = "x/1.mp4,\ny/1.mp4,\nz/2.mp4,two\nx/1.mp4,two\n../outside/3.mp4,\n"
        (tmp_path / "table").mkdir()
        for name in "xyz":
            (tmp_path / name).rename(tmp_path / "table" / name)
        found = find_clips(tmp_path, manifest=self.write(tmp_path / "table", f"path,id\n{rows}"))
        assert keys(found) == ["all/x/1", "all/y/1", "all/two", "all/outside/3"]
        assert "'z/2.mp4' has the id 'two' in split 'all' too" in reason(found, "x/1.mp4")

    def test_splits_have_the_names_of_folders(self, tmp_path: Path) -> None:
        grow(tmp_path, *(f"{i}.mp4" for i in range(6)))
        splits = ("Train", "dev", "VALIDATION", "Testing", "fold 2", "")
        rows = "".join(f"{i}.mp4,{split}\n" for i, split in enumerate(splits))
        found = find_clips(tmp_path, manifest=self.write(tmp_path, f"path,split\n{rows}"))
        assert keys(found) == ["train/0", "val/1", "val/2", "test/3", "all/5", "fold 2/4"]

    def test_bad_rows_are_left_out_by_number(self, tmp_path: Path) -> None:
        grow(tmp_path, "a.mp4")
        text = "path,label\na.mp4,Sad\ngone.mp4,Sad\n,Sad\na.mp4,Sad,really\n"
        found = find_clips(tmp_path, manifest=self.write(tmp_path, text))
        assert keys(found) == ["all/a"]
        relative = f"no file of that name (a path is absolute, or relative to '{tmp_path}')"
        assert reason(found, "gone.mp4") == f"{relative} (row 3 of clips.csv)"
        assert reason(found, "") == "has no path (row 4 of clips.csv)"
        assert reason(found, "a.mp4").startswith("has more cells than the first line")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                b"file,label\na.mp4,Sad\n",
                "no column 'path'; its first line names 'file', 'label', expected path",
            ),
            (b"", "its first line names nothing"),
            (b"path,label\na.mp4,Sad\nb.mp4,tr\xe8s triste\n", r"is not UTF-8 \(line 3\): save it as UTF-8"),
            (
                b"path\nnothing.mp4\n",
                r"lists no clip that can be used; 'nothing.mp4': no file of that name .*row 2 of clips.csv",
            ),
            (b'path\n"a.mp4\n', "line 2 is not valid CSV"),
        ],
    )
    def test_unusable_manifests(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "clips.csv").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            find_clips(tmp_path, manifest=tmp_path / "clips.csv")

    def test_absent_manifest_and_a_data_set_besides(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="cannot be read: No such file"):
            find_clips(tmp_path, manifest=tmp_path / "clips.csv")
        with pytest.raises(DatasetError, match="omit one of them"):
            find_clips(tmp_path, "afew", tmp_path / "clips.csv")


class TestFolders:
    def test_nothing_recognised_is_unlabelled(self, tmp_path: Path) -> None:
        found = find_clips(grow(tmp_path, "b.webm", "a.MOV", "readme.txt"))
        assert found.dataset == "unlabelled clips (no data set recognised)"
        assert found.counts == {"all": {"unlabelled": 2}}
        assert found.left_out == []

    def test_a_single_file(self, tmp_path: Path) -> None:
        clip = grow(tmp_path, "01-01-03_01.mp4") / "01-01-03_01.mp4"
        assert find_clips(clip).clips == [Clip("01-01-03_01", "all", str(clip))]
        assert find_clips(clip, "java-sed").clips == [Clip("01-01-03_01", "all", str(clip), "Happy", "01")]
        with pytest.raises(DatasetError, match="not named like a video or sound file"):
            find_clips(grow(tmp_path, "clips.csv") / "clips.csv")

    def test_an_empty_folder_says_what_was_expected(self, tmp_path: Path) -> None:
        grow(tmp_path, "readme.txt")
        with pytest.raises(
            DatasetError, match=r"(?s)no clips in .*\.avi.*afew: Train_AFEW/Happy.*--manifest"
        ):
            find_clips(tmp_path)

    def test_an_absent_folder_and_an_unknown_data_set(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="does not exist"):
            find_clips(tmp_path / "gone")
        with pytest.raises(DatasetError, match="no data set 'afwe', expected one of auto, afew"):
            find_clips(tmp_path, "afwe")

    def test_hidden_files_and_folders_are_passed_over(self, tmp_path: Path) -> None:
        found = find_clips(grow(tmp_path, "a.mp4", "._a.mp4", ".cache/b.mp4"))
        assert keys(found) == ["all/a"]
        assert found.left_out == []

    def test_links_are_followed_once(self, tmp_path: Path) -> None:
        root = grow(tmp_path / "set", "joy/a.mp4", "rage/b.mp4")
        (root / "again").symlink_to(root)
        (root / "joy/loop").symlink_to("loop")
        (root / "gone.mp4").symlink_to("nowhere.mp4")
        (root / "fear").symlink_to(grow(tmp_path / "outside", "c.mp4"))
        found = find_clips(root)
        assert labels(found) == {"joy/a": "joy", "rage/b": "rage", "fear/c": "fear"}
        assert reason(found, "again") == "a link to a folder that is already searched (set)"
        assert reason(found, "gone.mp4").startswith("not a file: a link to nothing")
        assert len(found.left_out) == 3

    def test_an_unreadable_folder_costs_only_itself(self, open_folder: Path) -> None:
        grow(open_folder, "a.mp4", "locked/b.mp4")
        (open_folder / "locked").chmod(0)
        with without_privileges():
            found = find_clips(open_folder)
        assert keys(found) == ["all/a"]
        assert reason(found, "locked") == "folder cannot be read: Permission denied"

    def test_a_name_that_is_not_utf8_is_left_out(self, tmp_path: Path) -> None:
        name = os.fsencode(tmp_path) + b"/tr\xe8s.mp4"
        try:
            os.close(os.open(name, os.O_CREAT))
        except OSError:
            pytest.skip("this file system refuses names that are not UTF-8")
        found = find_clips(grow(tmp_path, "a.mp4"))
        assert keys(found) == ["all/a"]
        assert [item[:2] for item in found.left_out] == [("tr\\udce8s.mp4", "name is not UTF-8: rename it")]

    @pytest.mark.slow
    @pytest.mark.parametrize("pattern", ["", "{split}/{emotion}/{clip}"])
    def test_ten_times_the_files_take_ten_times_as_long(self, tmp_path: Path, pattern: str) -> None:
        """Nothing is compared with everything: of 50,000 files that would take a hundred times as long."""
        seconds = []
        for count in (5_000, 50_000):
            folder = tmp_path / str(count)
            for name in CLASSES:
                (folder / "Train" / name).mkdir(parents=True)
            for i in range(count):
                os.close(os.open(folder / "Train" / CLASSES[i % 7] / f"{i:09}.avi", os.O_CREAT))
            start = time.process_time()
            assert len(find_clips(folder, pattern=pattern).clips) == count
            seconds.append(time.process_time() - start)
        assert seconds[1] < 40 * seconds[0]


def test_finding_clips_loads_nothing_heavy() -> None:
    program = (
        "import sys, avemo.pipelines.corpora.clips;"
        "sys.exit(str({'numpy', 'torch', 'h5py', 'cv2', 'av', 'librosa'} & set(sys.modules) or ''))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class without_privileges:
    """Where the tests run as root, act as nobody: root may read everything."""

    def __enter__(self) -> None:
        self.user = os.geteuid()
        if self.user == 0:
            os.seteuid(65534)

    def __exit__(self, *error: object) -> None:
        if self.user == 0:
            os.seteuid(0)
