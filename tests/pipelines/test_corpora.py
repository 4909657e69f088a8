"""Each corpus in its own layout, quirks included, of tiny real clips; what ``avemo datasets`` tells of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner

from avemo.pipelines.cli.datasets import datasets
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.corpora.clips.schemes import SCHEMES
from avemo.pipelines.errors import DatasetError

from .corpora import plant, said

EACH_OF_SIX = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise")
MELD_COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
)


def afew(root: Path, clip: Path) -> None:
    """The test part nested as its archive unpacks; one id in two splits, one in all three.

    albanie/mcnDatasets (afew3.0/getAfewImdb.m) reads {Train,Val,Test}/<Class>/<id>.avi with ids unique in a
    split only; Test_vid_Distribute is what the test archive of 2017 and 2018 unpacks to.
    """
    plant(
        root,
        clip,
        [
            "Train_AFEW/Angry/000046280.avi",
            "Train_AFEW/Happy/000149120.avi",
            "Train_AFEW/Sad/003002280.avi",
            "Val_AFEW/Neutral/000046280.avi",
            "Val_AFEW/Happy/000201200.avi",
            "Test_AFEW/Test_2019/Test_vid_Distribute/000046280.avi",
            "Test_AFEW/Test_2019/Test_vid_Distribute/003002280.avi",
        ],
    )


def rml(root: Path, clip: Path) -> None:
    """Speakers with and without folders of languages, and names that repeat in all of them.

    So read by albanie/mcnDatasets (rml/getRmlImdb.m): rml-1/s1 to s5, rml-2/s6 to s8, some with folders of
    languages, the class by a file's first two letters, 720 films in all.
    """
    codes = ("an", "di", "fe", "ha", "sa", "su")
    homes = ("rml-1/s1/English", "rml-1/s1/Mandarin", "rml-1/s2", "rml-2/s6")
    plant(root, clip, (f"{home}/{code}{take}.avi" for home, code, take in product(homes, codes, (1, 10))))


def enterface(root: Path, clip: Path) -> None:
    """Sentences in folders of their own, or not; a film one folder deeper; names that are miswritten.

    The odd names are those of emo-box/EmoBox, data/enterface/enterface.jsonl: subject 6 is one film an
    emotion, subject 3 is miswritten, and one name has its suffix twice.
    """
    emotions = {"an": "anger", "di": "disgust", "fe": "fear", "ha": "happiness", "sa": "sadness"}
    files = [
        f"subject {subject}/{emotion}/sentence {take}/s{subject}_{code}_{take}.avi"
        for subject, (code, emotion), take in product((1, 44), emotions.items(), (1, 2))
    ]
    files += [f"subject 6/{emotion}/s6_{code}.avi" for code, emotion in emotions.items()]
    files += ["subject 1/surprise/sentence 3/again/s1_su_3.avi", "subject 3/anger/sentence 5/s_3_an_5.avi"]
    files += ["subject 16/surprise/sentence 3/s16_su_3avi.avi"]
    plant(root / "enterface database", clip, files)


def ravdess(root: Path, clip: Path, actors: Iterable[int] = (1, 18)) -> None:
    """All three modalities of speech and song, as the archives unpack; actor 18 does not sing.

    Audio_Speech_Actors_01-24/Actor_18/03-01-05-01-02-01-18.wav is a path of emo-box/EmoBox, data/ravdess.
    """
    for actor in actors:
        for channel, part in ((1, "Speech"), (2, "Song")):
            for code in recordings_of(actor, channel):
                name = f"Video_{part}_Actor_{actor:02}/Actor_{actor:02}"
                audio = f"Audio_{part}_Actors_01-24/Actor_{actor:02}"
                plant(
                    root, clip, [f"{name}/01-{code}.mp4", f"{name}/02-{code}.mp4", f"{audio}/03-{code}.wav"]
                )


def recordings_of(actor: int, channel: int) -> list[str]:
    """What an actor of RAVDESS says (1) or sings (2), without the modality; neutral is never strong."""
    if channel == 2 and actor == 18:
        return []
    return [
        f"{channel:02}-{emotion:02}-{level:02}-{statement:02}-{repetition:02}-{actor:02}"
        for emotion, level, statement, repetition in product(
            range(1, 9 if channel == 1 else 7), (1, 2), (1, 2), (1, 2)
        )
        if (emotion, level) != (1, 2)
    ]


def crema_d(root: Path, clip: Path) -> None:
    """Films, and the same sounds twice; one recording of sound alone; a level of one letter.

    AudioWAV/1040_ITH_SAD_X.wav stands so in emo-box/EmoBox, data/cremad.
    """
    names = [f"1001_DFA_{code}_XX" for code in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")]
    names.append("1040_ITH_SAD_X")
    sounds = [*names, "1091_WSI_ANG_HI"]
    plant(root, clip, [f"VideoFlash/{name}.flv" for name in names])
    plant(root, clip, [f"AudioWAV/{name}.wav" for name in sounds])
    plant(root, clip, [f"AudioMP3/{name}.mp3" for name in names])


def savee(root: Path, clip: Path, actors: Iterable[str] = ("DC", "JE", "JK", "KL")) -> None:
    """15 sentences of each emotion and 30 neutral ones; sounds apart from the films of them.

    Sounds have two digits (AudioData/DC/a01.wav, as in emo-box/EmoBox, data/savee/savee.jsonl), films as
    many as they need: public readers open AudioVisualClip/DC/a1.avi.
    """
    takes = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    for actor, (code, count) in product(actors, takes.items()):
        takes_of = range(1, count + 1)
        plant(root, clip, [f"AudioVisualClip/{actor}/{code}{take}.avi" for take in takes_of])
        plant(root, clip, [f"AudioData/{actor}/{code}{take:02}.wav" for take in takes_of])


def meld(root: Path, clip: Path) -> None:
    """Tables in Windows-1252; a film without a row and a row without a film; dialogs in several splits.

    Folders and dia66_utt9, which has no row, as in declare-lab/MELD, issue 22.
    """
    plant(
        root,
        clip,
        [
            *(f"train/train_splits/dia0_utt{i}.mp4" for i in range(3)),
            *(f"dev_splits_complete/dia0_utt{i}.mp4" for i in range(2)),
            "dev_splits_complete/dia66_utt9.mp4",
            *(f"output_repeated_splits_test/dia0_utt{i}.mp4" for i in range(30)),
            "output_repeated_splits_test/final_videos_testdia0_utt0.mp4",
            "output_repeated_splits_test/._dia0_utt0.mp4",
        ],
    )
    emotions = ("neutral", "joy", "anger", "sadness", "fear", "disgust", "surprise")
    tables = {"train/train": (3, 0), "dev": (2, 110), "test": (30, 0)}
    for name, (count, missing) in tables.items():
        rows = [
            f'{i},"It\x92s me, Jo",{("Ross", "Joey")[i % 2]},{emotions[i % 7]},neutral,0,{i},1,2,"0,0",""'
            for i in range(count)
        ]
        rows += [f"99,gone,Monica,joy,positive,{missing},7,6,2,,"] if missing else []
        text = "\r\n".join([MELD_COLUMNS, *rows])
        (root / f"{name}_sent_emo.csv").write_bytes(text.encode("latin-1"))


def java_sed(root: Path, clip: Path) -> None:
    """Two actors."""
    plant(
        root,
        clip,
        (
            f"{actor:02}-{sentence:02}-{emotion:02}_01.mp4"
            for actor, sentence, emotion in product((1, 10), range(1, 5), range(1, 7))
        ),
    )


def iemocap(root: Path, clip: Path) -> None:
    """Two sessions; an excited, a frustrated and a disputed sentence.

    Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_F000.wav is a path of emo-box/EmoBox, data/iemocap.
    """
    codes = ("neu", "hap", "sad", "ang", "exc", "fru", "xxx")
    for session in (1, 2):
        dialog = f"Ses{session:02}F_impro01"
        names = [f"{dialog}_{'FM'[i % 2]}{i:03}" for i in range(len(codes))]
        plant(root / f"Session{session}/sentences/wav/{dialog}", clip, [f"{name}.wav" for name in names])
        evaluation = root / f"Session{session}/dialog/EmoEvaluation/{dialog}.txt"
        evaluation.parent.mkdir(parents=True)
        lines = [
            f"[{i} - {i + 0.5}]\t{name}\t{code}\t[3, 3, 3]"
            for i, (name, code) in enumerate(zip(names, codes, strict=True))
        ]
        evaluation.write_text("\n".join(lines) + "\n")


def folders(root: Path, clip: Path) -> None:
    """Other names of emotions, in other cases in the two splits, and a class without a clip."""
    plant(root, clip, ["train/joy/a.mp4", "train/joy/b.mp4", "train/Boredom/c.mp4", "test/Joy/d.mp4"])
    (root / "train/rage").mkdir()


TREES: dict[str, Callable[[Path, Path], None]] = {
    "afew": afew,
    "rml": rml,
    "enterface": enterface,
    "ravdess": ravdess,
    "crema-d": crema_d,
    "savee": savee,
    "meld": meld,
    "java-sed": java_sed,
    "iemocap": iemocap,
    "folders": folders,
}


@pytest.fixture
def tree(tmp_path: Path, clip: Path) -> Callable[[str], Path]:
    """Grows one of the corpora in small."""

    def grow(name: str) -> Path:
        TREES[name](tmp_path, clip)
        return tmp_path

    return grow


def check(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(datasets, ["check", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code or int(result.return_value or 0), result.output


def checked(*arguments: object) -> dict[str, Any]:
    return json.loads(check(*arguments, "--json")[1])


class TestLayouts:
    @pytest.mark.parametrize("name", TREES)
    def test_is_known_by_its_layout_and_all_clips_open(self, tree: Callable[[str], Path], name: str) -> None:
        root = tree(name)
        found = find_clips(root)
        assert found.name == name
        assert find_clips(root, name).clips == found.clips
        assert len({clip.key for clip in found.clips}) == len(found.clips)
        with av.open(found.clips[-1].path) as opened:
            assert opened.streams.video and opened.streams.audio

    def test_afew_keeps_ids_that_repeat_in_splits_apart(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("afew"))
        assert not found.left_out
        assert {clip.split for clip in found.clips if clip.id == "000046280"} == {"train", "val", "test"}
        assert [clip.label for clip in found.clips if clip.split == "test"] == [None, None]

    def test_afew_in_small_letters_has_the_same_classes(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["train/happy/1.avi", "train/SAD/2.avi", "val/Happy/1.avi"])
        assert find_clips(tmp_path).counts == {"train": {"Happy": 1, "Sad": 1}, "val": {"Happy": 1}}

    def test_rml_with_folders_of_languages_and_without(self, tree: Callable[[str], Path]) -> None:
        root = tree("rml")
        found = find_clips(root)
        assert not found.left_out and found.counts == {"all": dict.fromkeys(EACH_OF_SIX, 8)}
        assert Counter(clip.subject for clip in found.clips) == {"1": 24, "2": 12, "6": 12}
        assert {("all", "Angry", "1", "s1/English/an1"), ("all", "Surprise", "6", "s6/su10")} <= said(found)
        inner = find_clips(root / "rml-1" / "s1", "rml")
        assert {clip.id for clip in inner.clips} < {clip.id for clip in found.clips}

    def test_enterface_at_any_depth(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("enterface"))
        assert not found.left_out and len(found.clips) == 28
        subjects = Counter(clip.subject for clip in found.clips)
        assert subjects == {"1": 11, "3": 1, "6": 5, "16": 1, "44": 10}
        assert {
            ("all", "Fear", "6", "subject 6/fear/s6_fe"),
            ("all", "Surprise", "16", "subject 16/surprise/sentence 3/s16_su_3avi"),
            ("all", "Surprise", "1", "subject 1/surprise/sentence 3/again/s1_su_3"),
            ("all", "Angry", "3", "subject 3/anger/sentence 5/s_3_an_5"),
        } <= said(found)

    def test_enterface_with_its_spaces_replaced(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["subject-7/Happiness/sentence-1/s7_ha_1.avi"])
        assert {(clip.label, clip.subject) for clip in find_clips(tmp_path, "enterface").clips} == {
            ("Happy", "7")
        }

    def test_ravdess_keeps_whole_recordings(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("ravdess"))
        assert len(found.clips) == 60 + 44 + 60 and all(clip.id.startswith("01-") for clip in found.clips)
        assert not found.problems and len(found.left_out) == 2 * 164
        assert found.counts["all"]["Calm"] == 8 + 8 + 8
        assert {clip.subject for clip in found.clips} == {"01", "18"}

    def test_ravdess_without_whole_recordings_takes_pictures_and_says_so(
        self, tmp_path: Path, clip: Path
    ) -> None:
        code = "01-05-01-01-01-07"
        plant(tmp_path, clip, [f"a/02-{code}.mp4", f"b/03-{code}.wav", "b/03-01-08-01-01-01-09.wav"])
        found = find_clips(tmp_path)
        assert [clip.id for clip in found.clips] == [f"02-{code}", "03-01-08-01-01-01-09"]
        (item,) = found.problems
        assert item.path == f"b/03-{code}.wav" and "get the whole recording" in item.reason

    def test_ravdess_unpacked_twice(self, tmp_path: Path, clip: Path) -> None:
        name = "Actor_07/03-01-05-01-01-01-07.wav"
        plant(tmp_path, clip, [name, f"audio_speech_actors_01-24/{name}"])
        found = find_clips(tmp_path)
        assert len(found.clips) == 1 and not found.problems
        assert [item.reason for item in found.left_out] == ["a copy of a file that is used"]

    def test_crema_d_takes_films_before_sounds(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("crema-d"))
        assert len(found.clips) == 8 and not found.problems and len(found.left_out) == 14
        assert [Path(clip.path).suffix for clip in found.clips].count(".flv") == 7
        assert ("all", "Angry", "1091", "1091_WSI_ANG_HI") in said(found)
        assert ("all", "Sad", "1040", "1040_ITH_SAD_X") in said(found)

    def test_savee_takes_films_before_sounds(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("savee"))
        assert len(found.clips) == 480 and all(clip.path.endswith(".avi") for clip in found.clips)
        assert len(found.left_out) == 480 and not found.problems
        assert {("all", "Sad", "DC", "DC/sa1"), ("all", "Angry", "KL", "KL/a15")} <= said(found)

    def test_savee_as_it_unpacks_with_pictures_is_not_four_classes(self, tmp_path: Path, clip: Path) -> None:
        """AudioVisualClip alone, as public readers open it: ``AudioVisualClip/DC/a1.avi``; the letters and
        counts are those of emo-box/EmoBox (data/savee) and felixbur/nkululeko (data/savee)."""
        codes = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
        names = [f"{code}{take}" for code, count in codes.items() for take in range(1, count + 1)]
        root = plant(
            tmp_path,
            clip,
            (f"AudioVisualClip/{a}/{n}.avi" for a, n in product(("DC", "JE", "JK", "KL"), names)),
        )
        found = find_clips(root)
        assert found.counts["all"] == dict.fromkeys(EACH_OF_SIX, 60) | {"Neutral": 120}
        assert not found.left_out and {clip.subject for clip in found.clips} == {"DC", "JE", "JK", "KL"}

    def test_letters_in_either_case_are_one_speaker_and_one_recording(
        self, tmp_path: Path, clip: Path
    ) -> None:
        names = ["AudioVisualClip/DC/a01.AVI", "audiodata/dc/A01.WAV", "AudioVisualClip/dc/N02.avi"]
        found = find_clips(plant(tmp_path, clip, names), "savee")
        assert [clip.label for clip in found.clips] == ["Angry", "Neutral"]
        assert len({clip.subject for clip in found.clips}) == 1
        assert [item.path for item in found.left_out] == ["audiodata/dc/A01.WAV"]

    def test_savee_in_one_folder(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["ALL/DC_sa01.wav", "ALL/JK_n30.wav"])
        assert said(find_clips(tmp_path)) == {
            ("all", "Sad", "DC", "DC_sa01"),
            ("all", "Neutral", "JK", "JK_n30"),
        }

    def test_meld_with_its_tables(self, tree: Callable[[str], Path]) -> None:
        found = find_clips(tree("meld"))
        assert Counter(clip.split for clip in found.clips) == {"train": 3, "val": 2, "test": 30}
        assert ("val", "Happy", "Joey", "dia0_utt1") in said(found)
        assert ("test", "Surprise", "Ross", "dia0_utt6") in said(found)
        assert [(item.path, item.reason) for item in found.problems] == [
            ("dev_splits_complete/dia66_utt9.mp4", "has no row in dev_sent_emo.csv"),
            ("dialogue 110 utterance 7", "is missing, but dev_sent_emo.csv lists it"),
        ]

    def test_meld_takes_corrected_recordings(self, tree: Callable[[str], Path]) -> None:
        """final_videos_testdia0_utt0.mp4 has the sound of the row, dia0_utt0.mp4 another: so found by
        UPC-AIDL-MER/multimodal_emotion_recognition (README), who use it in its twin's place; 132 of them."""
        root = tree("meld")
        found = find_clips(root)
        first = next(clip for clip in found.clips if str(clip) == "test/dia0_utt0")
        assert Path(first.path).name == "final_videos_testdia0_utt0.mp4"
        assert (first.label, first.subject) == ("Neutral", "Ross")
        (twin,) = (item for item in found.left_out if item.path.endswith("test/dia0_utt0.mp4"))
        assert twin.spare and twin.reason == "is faulty; the corrected recording is used"
        folder = root / "output_repeated_splits_test"
        (folder / "dia0_utt0.mp4").unlink()
        (folder / "dia0_utt0.wav").write_bytes(b"")
        assert find_clips(root).clips == found.clips

    def test_meld_without_a_table_or_a_part(self, tree: Callable[[str], Path]) -> None:
        root = tree("meld")
        (root / "dev_sent_emo.csv").unlink()
        for file in (root / "output_repeated_splits_test").iterdir():
            file.unlink()
        found = find_clips(root)
        assert found.counts["val"] == {"unlabelled": 3}
        assert {item.path: item.reason for item in found.problems} == {
            "dev_sent_emo.csv": "is missing: split 'val' has no labels",
            "test_sent_emo.csv": "none of the 30 clips that it lists is found",
        }

    def test_meld_tables_that_cannot_be_used(self, tree: Callable[[str], Path]) -> None:
        root = tree("meld")
        table = root / "train/train_sent_emo.csv"
        text = table.read_bytes()
        table.write_bytes(text.replace(b"joy", b"glee"))
        (item,) = (item for item in find_clips(root).problems if "train" in item.path)
        assert item.path == "train/train_splits/dia0_utt1.mp4" and item.detail == "line 3: 'glee'"
        table.write_bytes(text + b'\r\n"' + b"x" * 200_000)
        with pytest.raises(
            DatasetError, match=r"train/train_sent_emo.csv' line \d+ is not valid CSV: field larger"
        ):
            find_clips(root)
        lines = text.splitlines(keepends=True)
        place = lines[0].split(b",").index(b"Dialogue_ID")
        cells = lines[1].rsplit(b",", len(lines[0].split(b",")) - place)
        cells[1] = b"9" * 5000  # more digits than Python turns into a number
        table.write_bytes(b"".join([lines[0], b",".join(cells), *lines[2:]]))
        assert any("9" * 5000 in item.path for item in find_clips(root).problems)
        table.write_bytes(text.replace(b"Emotion", b"Mood"))
        with pytest.raises(DatasetError, match="has no column 'Emotion'; its first line names 'Sr No"):
            find_clips(root)

    def test_iemocap_tells_sessions(self, tree: Callable[[str], Path]) -> None:
        root = tree("iemocap")
        found = find_clips(root)
        assert {(clip.session, clip.subject) for clip in found.clips} == {
            (f"Ses0{i}", f"Ses0{i}{speaker}") for i in (1, 2) for speaker in "FM"
        }
        every = find_clips(root, "iemocap-full")
        assert every.counts["all"] == dict.fromkeys(
            ("Angry", "Excited", "Frustrated", "Happy", "Neutral", "Sad"), 2
        )

    def test_a_corpus_keeps_its_own_classes_unless_asked(self, tree: Callable[[str], Path]) -> None:
        root = tree("ravdess")
        assert find_clips(root, others="drop").counts["all"].keys() == set(EACH_OF_SIX) | {"Neutral"}
        calm = find_clips(root).counts["all"]["Calm"]
        neutral = find_clips(root).counts["all"]["Neutral"]
        assert find_clips(root, others="map").counts["all"]["Neutral"] == calm + neutral


class TestCheck:
    def test_published_counts_agree_with_themselves(self) -> None:
        for scheme in SCHEMES.values():
            for count in scheme.published:
                assert not count.classes or sum(count.classes.values()) == count.clips
                assert not count.each or count.each * len(count.subjects) == count.clips

    def test_a_whole_corpus(self, tree: Callable[[str], Path]) -> None:
        root = tree("savee")
        code, output = check(root)
        assert code == 0 and "fewer" not in output
        (root / "AudioVisualClip/JE/sa5.avi").unlink()
        assert checked(root)["whole"]  # its sound is there still
        (root / "AudioData/JE/sa05.wav").unlink()
        code, output = check(root)
        assert code == 1
        assert "clips: by class Sad 59 of 60" in output
        assert "clips: fewer than 120 clips of subjects JE 119" in output

    def test_a_whole_corpus_in_two_parts(self, tmp_path: Path, clip: Path) -> None:
        ravdess(tmp_path, clip, range(1, 25))
        told = checked(tmp_path)
        assert told["whole"] and told["clips"] == 2452
        assert [(part["part"], part["here"]) for part in told["published"]] == [
            ("speech", 1440),
            ("song", 1012),
        ]

    def test_a_part_that_was_not_wanted_is_not_missing(self, tmp_path: Path, clip: Path) -> None:
        ravdess(tmp_path, clip, range(1, 25))
        shutil.rmtree(tmp_path / "Audio_Song_Actors_01-24")
        for folder in tmp_path.glob("Video_Song_*"):
            shutil.rmtree(folder)
        told = checked(tmp_path)
        assert told["whole"] and [part["here"] for part in told["published"]] == [1440, 0]

    def test_half_of_a_corpus(self, tree: Callable[[str], Path]) -> None:
        told = checked(tree("java-sed"))
        (part,) = told["published"]
        assert (part["here"], part["published"]) == (48, 240)
        assert part["subjects_missing"] == [f"0{i}" for i in range(2, 10)]
        assert part["classes"]["Fear"] == {"here": 8, "published": 40}
        assert not told["whole"]

    def test_what_is_no_media_yet(self, tree: Callable[[str], Path]) -> None:
        root = tree("java-sed")
        for name in ("01-01-01_01.mp4", "01-01-02_01.mp4"):
            (root / name).unlink()
        (root / "01-01-01_01.mp4").touch()
        (root / "01-01-02_01.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        groups = {group["reason"]: group["first"] for group in checked(root)["left_out"]}
        assert groups["is empty: get it again"] == [{"path": "01-01-01_01.mp4", "detail": ""}]
        pointer = "is a pointer of Git LFS, not the file itself: run git lfs pull"
        assert groups[pointer] == [{"path": "01-01-02_01.mp4", "detail": ""}]

    def test_labels_without_files_and_files_without_labels(self, tmp_path: Path, clip: Path) -> None:
        plant(tmp_path, clip, ["a/1.mp4", "a/2.mp4"])
        (tmp_path / "clips.csv").write_text("path,label\na/1.mp4,Sad\na/9.mp4,Sad\n")
        code, output = check(tmp_path / "a", "--manifest", tmp_path / "clips.csv")
        assert code == 1
        assert "needs attention: 1: no row of clips.csv lists it\n  2.mp4" in output
        assert "a/9.mp4 (row 3 of clips.csv)" in output

    def test_class_folders(self, tree: Callable[[str], Path]) -> None:
        told = checked(tree("folders"))
        assert told["splits"] == {"train": {"Boredom": 1, "joy": 2}, "test": {"joy": 1}}
        assert told["other_classes"] == ["Boredom", "joy"]
        assert told["without_subject"] == 4
        (group,) = told["left_out"]
        assert (
            group["reason"] == "a class folder without a clip" and group["first"][0]["path"] == "train/rage"
        )

    def test_speakers_on_both_sides_are_named(self, tree: Callable[[str], Path]) -> None:
        assert checked(tree("meld"))["in_several_splits"] == ["Joey", "Ross"]

    def test_counts_are_compared_before_classes_are_changed(self, tmp_path: Path, clip: Path) -> None:
        ravdess(tmp_path, clip, range(1, 25))
        code, output = check(tmp_path, "--other-labels", "map")
        assert (
            code == 0
            and "classes taken: Calm as Neutral" in output
            and "Calm " not in output.split("class ")[1]
        )

    def test_groups_show_the_first_three(self, tmp_path: Path, clip: Path) -> None:
        files = [f"01-01-0{i}_01.mp4" for i in range(1, 7)] + [f"take {i}.mp4" for i in range(5)]
        _, output = check(plant(tmp_path, clip, files), "--dataset", "java-sed")
        assert (
            "needs attention: 5: is not named like 01-02-06_01.mp4\n  take 0.mp4 (fails at 'take 0'" in output
        )
        assert "  take 2.mp4 (fails" in output and "  and 2 more" in output

    def test_downloads_that_are_not_finished(self, tree: Callable[[str], Path]) -> None:
        root = tree("rml")
        (root / "rml-2.zip.crdownload").touch()
        (root / "rml-2.ZIP").touch()
        groups = {group["reason"]: group["spare"] for group in checked(root)["left_out"]}
        assert groups == {"an unfinished download": False, "an archive, not searched": True}

    def test_links_in_a_loop(self, tree: Callable[[str], Path]) -> None:
        root = tree("rml")
        (root / "rml-1/s1/again").symlink_to(root, target_is_directory=True)
        (root / "rml-1/s1/English/self").symlink_to("self")
        told = checked(root)
        assert told["clips"] == 48
        reasons = {group["reason"]: group["spare"] for group in told["left_out"]}
        assert reasons["a link to a folder that is already searched"]

    def test_list(self) -> None:
        result = CliRunner().invoke(datasets, ["list"])
        assert result.exit_code == 0
        lines = {line.split()[0]: line for line in result.output.split("\n\n")[0].splitlines()[1:]}
        assert lines.keys() == SCHEMES.keys()
        assert lines["crema-d"].split(maxsplit=3)[1:] == ["7442", "91", "the seven but Surprise"]
        told = json.loads(CliRunner().invoke(datasets, ["list", "--json"]).output)
        assert {each["name"]: each["clips"] for each in told}["meld"] == 13708

    def test_java_sed_itself(self, shared: Path) -> None:
        told = checked(shared / "data/java_sed/clips")
        assert told["dataset"] == "Java-SED" and told["clips"] == 168 and len(told["subjects"]) == 7
        assert told["published"][0]["subjects_missing"] == ["08", "09", "10"]
        assert not told["left_out"]
