"""IEMOCAP from its files, made here in its own layout, to scores: labels, markers, folds of sessions."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.extract.errors import ClipError, ExtractError
from avemo.extract.markers import COUNT, RATE, MarkerSpan, read_markers, without_gaps
from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import Sequences
from avemo.fusion.features.recipes import RECIPES, find
from avemo.fusion.heads.encoders import EncoderSettings, build_encoder
from avemo.fusion.training.batches import Batcher, Padded, Standardisation
from avemo.pipelines.cli.extract import main as extract_main
from avemo.pipelines.cli.fuse import main as fuse_main
from avemo.pipelines.corpora.clips.find import FoundClips, find_clips
from avemo.pipelines.corpora.clips.iemocap import NO_RECORDING, OTHER_WEARS
from avemo.pipelines.errors import DatasetError, NotThisDataset
from avemo.pipelines.plan_again import plan_again
from avemo.pipelines.pretrain.recordings import find_recordings

from ..options import keys, without_idle

LENGTH, PAUSE = 0.9, 0.35  # seconds of a turn, and between two
HEADER = (
    "Frame# Time " + " ".join(f"M{i}" for i in range(COUNT)),
    "       " + "X Y Z " * COUNT,
)
CODES = ("neu", "hap", "sad", "ang", "exc", "fru", "xxx", "neu")


def turns(codes: Sequence[str] = CODES) -> list[tuple[float, float, str, str]]:
    """Start, end, the speaker with the turn's number, and the emotion of each turn; both speak in turn."""
    starts = [0.5 + i * (LENGTH + PAUSE) for i in range(len(codes))]
    return [
        (start, start + LENGTH, f"{'FM'[i % 2]}{i // 2:03d}", code)
        for i, (start, code) in enumerate(zip(starts, codes, strict=True))
    ]


def write_evaluation(path: Path, dialog: str, told: Sequence[tuple[float, float, str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for start, end, turn, code in told:
        lines += [
            f"[{start:.4f} - {end:.4f}]\t{dialog}_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "C-F1:\tNeutral;\t(a bit [tired - bored])",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "",
        ]
    path.write_text("\n".join(lines))


def write_wav(path: Path, seconds: float, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    loudness = rng.uniform(200, 9000, int(seconds * 20) + 1).repeat(800)[: int(seconds * 16_000)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(
            (rng.normal(0, 1, len(loudness)) * loudness).clip(-32767, 32767).astype("<i2").tobytes()
        )


def write_markers(path: Path, times: np.ndarray, positions: np.ndarray) -> Path:
    """A recording of ``[T, 165]``, x y z of each marker in turn, as the corpus has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (
        f"{number} {time:.5f} {' '.join(str(value).replace('nan', 'NaN') for value in row)}"
        for number, (time, row) in enumerate(zip(times, positions.round(5).tolist(), strict=True), start=1)
    )
    path.write_text("\n".join([*HEADER, *rows]) + "\n")
    return path


def motion(told: Sequence[tuple[float, float, str, str]], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Times, and positions that tell each turn's emotion; some are missing for a while, the last marker
    always."""
    times = np.arange(int((told[-1][1] + 0.5) * RATE)) / RATE
    positions = rng.normal(0, 1, (len(times), COUNT, 3)) + np.linspace(-80, 80, COUNT)[:, None]
    for start, end, _, code in told:
        positions[(times >= start) & (times <= end), :, CODES.index(code) % 3] += 9 * CODES.index(code)
    positions[100:140, 3] = np.nan
    positions[:, -1] = np.nan
    return times, positions.reshape(len(times), -1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of three dialogs each: either speaker wears the markers once, and a scripted scene."""
    root = tmp_path_factory.mktemp("corpus") / "IEMOCAP_full_release"
    rng = np.random.default_rng(0)
    for session in (1, 2):
        home = root / f"Session{session}"
        for name in ("F_impro01", "M_impro05a", "F_script01_1b"):
            dialog, told = f"Ses{session:02d}{name}", turns()
            write_evaluation(home / f"dialog/EmoEvaluation/{dialog}.txt", dialog, told)
            for start, end, turn, _ in told:
                write_wav(home / f"sentences/wav/{dialog}/{dialog}_{turn}.wav", end - start, rng)
            write_markers(home / f"dialog/MOCAP_rotated/{dialog}.txt", *motion(told, rng))
            for other in (f"avi/DivX/{dialog}.avi", f"wav/{dialog}.wav", f"EmoEvaluation/._{dialog}.txt"):
                (home / "dialog" / other).parent.mkdir(parents=True, exist_ok=True)
                (home / "dialog" / other).write_bytes(b"\0\5\26\7")
            sentence = home / f"sentences/MOCAP_rotated/{dialog}/{dialog}_F000.txt"
            sentence.parent.mkdir(parents=True)
            sentence.write_text("not looked at")
    return root


@pytest.fixture
def dialog(tmp_path: Path) -> Path:
    """One session of one dialog, whose files a test may spoil; its evaluation."""
    home, name, rng = tmp_path / "Session3", "Ses03M_impro02", np.random.default_rng(1)
    write_evaluation(home / f"dialog/EmoEvaluation/{name}.txt", name, turns())
    for start, end, turn, _ in turns():
        write_wav(home / f"sentences/wav/{name}/{name}_{turn}.wav", end - start, rng)
    write_markers(home / f"dialog/MOCAP_rotated/{name}.txt", *motion(turns(), rng))
    return home / f"dialog/EmoEvaluation/{name}.txt"


def reasons(found: FoundClips) -> dict[str, str]:
    """Why sentences are left out, by the last four letters of their names."""
    return {Path(item.path).stem[-4:]: item.reason for item in found.problems}


class TestFinding:
    def test_improvised_sentences_of_four_classes(self, corpus: Path) -> None:
        found = find_clips(corpus)
        assert found.dataset == "IEMOCAP (improvised)" and not found.problems
        assert found.counts == {"all": {"Angry": 4, "Happy": 4, "Neutral": 8, "Sad": 4}}
        clip = found.clips[1]
        assert (clip.id, clip.label, clip.subject) == ("Ses01F_impro01_F001", "Sad", "Ses01F")
        assert clip.path == str(corpus / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav")
        assert {clip.subject for clip in found.clips} == {"Ses01F", "Ses01M", "Ses02F", "Ses02M"}
        assert found.notes == [
            "left out: 16 scripted sentences",
            "left out: 12 sentences of other emotions (4 excited, 4 no agreement, 4 frustrated)",
        ]
        assert sum(item.spare for item in found.left_out) == 12  # sound and pictures of whole dialogs

    @pytest.mark.parametrize(
        ("name", "happy", "clips"), [("iemocap", 4, 20), ("iemocap-exc", 8, 24), ("iemocap-all", 12, 36)]
    )
    def test_variants(self, corpus: Path, name: str, happy: int, clips: int) -> None:
        found = find_clips(corpus, name)
        assert found.counts["all"]["Happy"] == happy and len(found.clips) == clips

    def test_one_session_and_a_folder_above(self, corpus: Path) -> None:
        assert len(find_clips(corpus / "Session2").clips) == 10
        assert len(find_clips(corpus.parent).clips) == 20

    def test_what_is_not_laid_out_so(self, tmp_path: Path) -> None:
        (tmp_path / "Happy").mkdir()
        (tmp_path / "Happy" / "Ses01F_impro01_F000.wav").touch()
        with pytest.raises(NotThisDataset, match=r"dialog/EmoEvaluation/Ses01F_impro01\.txt"):
            find_clips(tmp_path, "iemocap")

    def test_where_the_markers_are(self, corpus: Path) -> None:
        spans = find_clips(corpus).markers
        span = spans["all", "Ses01M_impro05a_M001"]
        recording = corpus / "Session1/dialog/MOCAP_rotated/Ses01M_impro05a.txt"
        assert span == MarkerSpan(str(recording), pytest.approx(4.25), pytest.approx(5.15))
        assert spans["all", "Ses01F_impro01_M000"].absent == OTHER_WEARS
        assert [not span.absent for span in spans.values()].count(True) == 10

    def test_recordings_to_train_an_audio_network_on(self, corpus: Path) -> None:
        found = find_recordings(corpus, "iemocap-exc")
        assert found.classes == ("Angry", "Happy", "Neutral", "Sad") and len(found.recordings) == 24
        assert {recording.subject for recording in found.recordings} >= {"Ses01F", "Ses02M"}
        assert "left out: 16 scripted sentences" in found.notes

    def test_a_broken_line_costs_one_sentence(self, dialog: Path) -> None:
        text = dialog.read_text()
        text = text.replace("[0.5000 - 1.4000]", "[1.4000 - 0.5000]")
        text = text.replace("[1.7500 - 2.6500]", "[1.7500 - 2.6500")
        text = text.replace("[3.0000 - 3.9000]", "[3.0.0 - 3.9000]")
        text += "\n[0.1 - 0.2]\tSes03M_impro02_M001\thap\t[1, 1, 1]\n"
        dialog.write_text(text)
        found = find_clips(dialog.parents[2])
        assert [clip.id[-4:] for clip in found.clips] == ["M003"]
        name = "EmoEvaluation/Ses03M_impro02.txt"
        assert reasons(found) == {
            "F000": f"{name} line 3: 1.4000 to 0.5000 is not a valid time span",
            "M000": f"{name} has no turn of that name (line 8 cannot be read)",
            "F001": f"{name} line 13: 3.0.0 to 3.9000 is not a valid time span",
            "M001": f"{name} has several turns of that name",
        }

    def test_files_that_are_not_there_or_no_text(self, dialog: Path) -> None:
        sentences = dialog.parents[2] / "sentences/wav/Ses03M_impro02"
        (sentences / "Ses03M_impro02_F000.wav").unlink()
        (sentences / "laugh.wav").touch()
        found = find_clips(dialog.parents[2])
        assert reasons(found) == {
            "F000": "is missing, but has an evaluation",
            "augh": "is not named like Ses01F_impro01/Ses01F_impro01_F000.wav",
        }
        (sentences / "laugh.wav").unlink()
        dialog.write_bytes(bytes(range(256)) * 10)
        for spoil, reason in (
            (lambda: None, "has no turn of that name"),
            (lambda: dialog.write_bytes(b"[" * (5 << 20)), "has more than 4 MiB"),
            (dialog.unlink, "cannot be read: No such file"),
        ):
            spoil()
            with pytest.raises(DatasetError, match=f"no sentence in .* is labelled Angry, .*{reason}"):
                find_clips(dialog.parents[2])

    def test_a_dialog_without_any_sound_is_told_of(self, corpus: Path, dialog: Path) -> None:
        name = "Ses03F_impro01"
        write_evaluation(dialog.with_name(f"{name}.txt"), name, turns(["hap", "fru"]))
        write_evaluation(dialog.with_name("Ses03F_script01_1.txt"), "Ses03F_script01_1", turns(["hap"]))
        (item,) = find_clips(dialog.parents[2]).problems
        assert item.path == f"sentences/wav/{name}/{name}_F000.wav"
        assert item.why == f"is missing, but has an evaluation (EmoEvaluation/{name}.txt)"


def gappy(rng: np.random.Generator, frames: int) -> np.ndarray:
    """``[T, 55, 3]`` positions, of which a good part was not seen."""
    positions = rng.normal(0, 50, (frames, COUNT, 3)).round(5)
    positions[rng.random((frames, COUNT)) < 0.3] = np.nan
    positions[:, 7] = np.nan
    return positions


class TestMarkers:
    def test_gaps_against_a_plain_loop(self) -> None:
        rng = np.random.default_rng(0)
        times = np.cumsum(rng.uniform(0.005, 0.02, 30))
        values = gappy(rng, 30)
        filled = without_gaps(values, times)
        for marker, axis in np.ndindex(COUNT, 3):
            column = values[:, marker, axis]
            seen = [i for i in range(30) if not np.isnan(column[i])]
            for i in range(30):
                before = [j for j in seen if j <= i]
                after = [j for j in seen if j >= i]
                if not seen:
                    assert np.isnan(filled[i, marker, axis])
                    continue
                a, b = (before or after[:1])[-1], (after or before[-1:])[0]
                share = 0.0 if a == b else (times[i] - times[a]) / (times[b] - times[a])
                assert filled[i, marker, axis] == pytest.approx(column[a] + share * (column[b] - column[a]))

    def test_what_is_read(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        times, positions = (np.arange(600) / RATE).round(5), gappy(rng, 600)
        positions[200:300, 4] = np.nan  # throughout the clip: seen before and after it
        positions[199, 4], positions[300, 4] = (0, 0, 0), (101, 202, -101)
        path = write_markers(tmp_path / "dialog.txt", times, positions.reshape(600, -1))
        markers = read_markers(MarkerSpan(str(path), 201 / RATE, 280 / RATE + 1e-3))
        assert markers.positions.shape == (80, 3, COUNT) and markers.positions.dtype == np.float32
        np.testing.assert_allclose(markers.times, np.arange(80) / RATE, atol=1e-5)
        assert markers.unseen == 1 and not markers.warning
        near = without_gaps(positions[81:401], times[81:401])[201 - 81 : 281 - 81]
        np.testing.assert_allclose(markers.positions, near.transpose(0, 2, 1), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(markers.positions[0, :, 4], (2, 4, -2), atol=1e-2)

    def spoilt(self, path: Path, spoil: dict[int, str]) -> Path:
        """The same recording with other lines, counted from 1."""
        lines = path.read_text().splitlines()
        for number, text in spoil.items():
            lines[number - 1] = text
        path.write_text("\n".join(lines))
        return path

    @pytest.fixture
    def recording(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        return write_markers(
            tmp_path / "Ses01F_impro01.txt", np.arange(480) / RATE, rng.normal(size=(480, 165))
        )

    def test_lines_that_cannot_be_read_are_told_and_left_out(self, recording: Path) -> None:
        wild = f"9 1.225 {'1e999 ' * 165}"
        spoil = {130: "junk", 131: "127 1.05", 132: "x y " + "1 " * 165, 140: "1 1.1 2 3", 150: wild}
        self.spoilt(recording, spoil)
        markers = read_markers(MarkerSpan(str(recording), 1.0, 2.0))
        assert markers.warning == (
            "4 lines of Ses01F_impro01.txt from line 130 on are not frames of 55 markers"
        )
        assert len(markers.positions) == 116 and np.isfinite(markers.positions).all()
        assert not read_markers(MarkerSpan(str(recording), 2.0, 3.0)).warning  # they cost their clip alone

    def test_a_second_pass_and_wild_times_do_no_harm(self, recording: Path) -> None:
        before = read_markers(MarkerSpan(str(recording), 2.0, 3.0))
        lines = recording.read_text().splitlines()
        lines[60] = lines[60].replace(" 0.48333 ", " 99999.0 ")
        recording.write_text("\n".join([*lines, *lines]))
        after = read_markers(MarkerSpan(str(recording), 2.0, 3.0))
        np.testing.assert_array_equal(after.positions, before.positions)
        assert "lines of Ses01F_impro01.txt from line 7" in after.warning

    @pytest.mark.parametrize(
        ("span", "text"),
        [
            ((10.0, 11.0), "has 0 frames from 10.00 to 11.00 s, 120 a second are expected"),
            ((3.6, 4.6), "has 48 frames from 3.60 to 4.60 s"),
        ],
    )
    def test_a_recording_that_lacks_the_clip(
        self, recording: Path, span: tuple[float, float], text: str
    ) -> None:
        with pytest.raises(ClipError, match=text):
            read_markers(MarkerSpan(str(recording), *span))

    def test_a_recording_that_ends_a_little_early(self, recording: Path) -> None:
        markers = read_markers(MarkerSpan(str(recording), 3.2, 4.2))
        assert len(markers.times) == 96
        assert markers.warning == "Ses01F_impro01.txt has 96 frames for 1.00 s, 120 are expected"

    def test_other_formats(self, tmp_path: Path) -> None:
        span = MarkerSpan(str(tmp_path / "r.txt"), 0.0, 1.0)
        slow = write_markers(tmp_path / "r.txt", np.arange(90) / 30, np.ones((90, 165)))
        with pytest.raises(ClipError, match="has 30 frames"):
            read_markers(span)
        write_markers(slow, np.arange(200) / RATE, np.ones((200, 159)))
        with pytest.raises(
            ClipError, match=r"has 0 frames.*lines of r\.txt from line 3 on are not frames of 55"
        ):
            read_markers(span)
        write_markers(slow, np.arange(200) / RATE, np.full((200, 165), np.nan))
        with pytest.raises(ClipError, match="no marker is seen in any of 120 frames"):
            read_markers(span)
        slow.write_bytes(b"\0" * 300_000)
        with pytest.raises(ClipError, match="has 0 frames"):
            read_markers(span)
        slow.unlink()
        with pytest.raises(ClipError, match=r"r\.txt cannot be read: No such file"):
            read_markers(span)


def test_what_is_not_known_is_at_the_training_clips_mean() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(5, 2, (n, 4)).astype(np.float32) for n in (6, 9, 7)]
    parts[0][:, 1] = parts[1][2:4, 2] = parts[2][:, 0] = np.nan
    for part in parts:
        part[:, 3] = np.nan  # never seen anywhere
    sequences = Sequences.of(parts)
    standard = Standardisation.of(sequences, np.array([0, 1]))
    known = np.concatenate(parts[:2]).astype(np.float64)[:, :3]
    np.testing.assert_allclose(standard.mean, [*np.nanmean(known, axis=0), 0], rtol=1e-6)
    np.testing.assert_allclose(standard.scale, [*1 / np.nanstd(known, axis=0), 1], rtol=1e-5)
    batch = Batcher({"visual": sequences}, {"visual": standard})(torch.arange(3))["visual"].values.numpy()
    expected = np.nan_to_num((parts[1] - standard.mean) * standard.scale)
    np.testing.assert_allclose(batch[1, :9], expected, atol=1e-5)
    assert np.isfinite(batch).all() and not batch[..., 3].any() and not batch[2, :, 0].any()


def test_the_encoder_sees_three_channels_of_55_markers() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSettings("1d-abfcn", RECIPES["markers"].channels), 3 * COUNT).eval()
    positions = np.random.default_rng(0).normal(size=(95, 3, COUNT)).astype(np.float32)
    values = torch.from_numpy(RECIPES["markers"].derive(positions))[None]
    picture = torch.from_numpy(positions).permute(1, 2, 0)[None]  # channels, markers, time
    seen: list[torch.Tensor] = []
    encoder.features["0"].register_forward_hook(lambda layer, given, out: seen.append(given[0]))
    out = encoder(padded(values))
    torch.testing.assert_close(seen[0], picture)
    assert out.values.shape == (1, 2, 256)


def padded(values: torch.Tensor) -> Padded:
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Padded(values, mask, torch.arange(values.shape[1]).float().expand(mask.shape) / RATE)


def extract(clips: Path, store: Path, *more: object) -> Result:
    arguments = [str(each) for each in (clips, "--store", store, "--workers", 1, *more)]
    result = CliRunner().invoke(extract_main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def extracted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The store of the corpus, and what the command that made it printed."""
    store = tmp_path_factory.mktemp("store") / "iemocap"
    result = extract(corpus, store)
    assert result.exit_code == 0, result.output
    yield store, result.output


class TestExtracting:
    def test_what_it_says(self, extracted: tuple[Path, str]) -> None:
        _, output = extracted
        assert "IEMOCAP (improvised), 20 clips" in output
        assert "left out: 12 sentences of other emotions (4 excited, " in output
        assert f"facial markers: 10 clips; 10 without: {OTHER_WEARS}" in output
        assert "has no video stream" not in output

    def test_what_is_stored(self, extracted: tuple[Path, str], corpus: Path) -> None:
        spans = find_clips(corpus).markers
        with FeatureStore(extracted[0]) as store:
            assert {"logmel", "markers", "spectrogram"} <= {*store.streams} and "faces" not in store.streams
            for row in store.rows:
                entry, span = row.entries["markers"], spans[row.clip.key]
                assert row.has("spectrogram") and row.source is not None
                if span.absent:
                    assert (entry.status, entry.reason) == ("absent", OTHER_WEARS)
                    continue
                arrays, expected = store.read(row, "markers"), read_markers(span)
                np.testing.assert_array_equal(arrays["markers"], expected.positions)
                assert entry.info["unseen"] == 1 and entry.info["frames"] == len(arrays["times"])
            feature = find(store, "visual", "auto")
            assert feature.name == "markers"
            (row,) = (row for row in store.rows if row.clip.id == "Ses01F_impro01_F001")
            vectors = feature.vectors(store, row)
            assert vectors is not None and vectors.values.shape == (108, 165)
            assert vectors.times is not None and vectors.times[0] < 1 / RATE < 0.88 < vectors.times[-1] < 0.9

    def test_again_there_is_nothing_to_do(self, extracted: tuple[Path, str], corpus: Path) -> None:
        result = extract(corpus, extracted[0])
        assert result.exit_code == 0
        assert "nothing to do, all 20 clips are there already" in result.output
        assert "facial markers; 0 of 20 clips to do" in result.output

    def test_a_bad_recording_costs_its_clips_markers_until_it_is_mended(
        self, dialog: Path, tmp_path: Path
    ) -> None:
        recording = dialog.parents[1] / "MOCAP_rotated" / dialog.name
        lines = recording.read_text().splitlines()
        recording.write_text("\n".join(lines[:300]))
        result = extract(tmp_path / "Session3", tmp_path / "store")
        assert result.exit_code == 1
        assert "failed: all/Ses03M_impro02_M001" in result.output
        assert "has 0 frames from 4.25 to 5.15 s, 120 a second are expected" in result.output
        assert f"facial markers: 1 clip; 2 failed; 2 without: {OTHER_WEARS}" in result.output
        with FeatureStore(tmp_path / "store") as store:
            assert all(row.has("logmel") for row in store.rows)
        recording.write_text("\n".join(lines))
        result = extract(tmp_path / "Session3", tmp_path / "store")
        assert result.exit_code == 0 and "nothing to do" in result.output
        recording.unlink()
        result = extract(tmp_path / "Session3", tmp_path / "store")
        assert result.exit_code == 0 and NO_RECORDING in result.output

    def test_another_time_or_another_recording_is_read_again(self, dialog: Path, tmp_path: Path) -> None:
        extract(tmp_path / "Session3", tmp_path / "store")
        dialog.write_text(dialog.read_text().replace("[1.7500 -", "[1.8500 -"))
        result = extract(tmp_path / "Session3", tmp_path / "store")
        assert "facial markers; 1 of 5 clips to do" in result.output
        with FeatureStore(tmp_path / "store") as store:
            (row,) = (row for row in store.rows if row.clip.id.endswith("M000"))
            assert len(store.read(row, "markers")["times"]) == 96

    @pytest.mark.parametrize(
        "option", [("--backbone", "ferresnet"), ("--tta", "none"), ("--max-frames", "9")]
    )
    def test_options_about_pictures_are_refused(
        self, corpus: Path, tmp_path: Path, option: tuple[str, str]
    ) -> None:
        result = extract(corpus, tmp_path / "store", *option)
        assert result.exit_code == 2 and f"{option[0]} would do nothing" in result.output
        assert not (tmp_path / "store").exists()


class TestFusing:
    QUICK = ("--epochs", 2, "--batch", 8, *keys("hidden=4", "outputs=4", "factors=2"), "--lr", 1e-3)

    def cv(self, store: Path, out: Path, *more: object) -> Result:
        arguments = ["cv", "--store", store, "--out", out, "--folds", "session", "--device", "cpu"]
        arguments += ["--workers", 1, *self.QUICK, *more]
        result = CliRunner().invoke(fuse_main, without_idle(arguments))
        assert result.exit_code == 0, result.output
        return result

    @pytest.mark.parametrize(
        "fusion",
        [("g-fbp",), ("am-fbp", *keys("trunks=19", "trunk_outputs=4"))],
        ids=lambda fusion: fusion[0],
    )
    def test_sessions_are_left_out_in_turn(
        self, extracted: tuple[Path, str], tmp_path: Path, fusion: tuple[object, ...]
    ) -> None:
        encoders = ("--audio-encoder", "1d-abfcn", "--visual-encoder", "1d-abfcn")
        result = self.cv(
            extracted[0], tmp_path, "--fusion", *fusion, "--visual", "markers", *encoders,
            "--visual-attention", "transformer", "--set", "lambda_visual=0.5",
        )  # fmt: skip
        assert (
            "markers, 165 values, 1d-abfcn from random weights, attention transformer with λ 0.5; 10 clips"
            in (result.output)
        )
        head = json.loads((tmp_path / "run.json").read_text())["settings"]["head"]
        assert head["visual_encoder"] == {"name": "1d-abfcn", "channels": 3, "lrn": True, "weights": ""}
        with (tmp_path / "scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 20 and {"Angry", "Happy", "Neutral", "Sad"} <= rows[0].keys()

    def test_markers_alone_tell_the_classes(self, extracted: tuple[Path, str], tmp_path: Path) -> None:
        """Every emotion moved the markers in a way of its own; half of the clips have none."""
        result = self.cv(
            extracted[0], tmp_path, "--fusion", "faces", "--visual-encoder", "1d-abfcn", "--epochs", 12,
        )  # fmt: skip
        with (tmp_path / "scores.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["clip"][5] == row["clip"][-4]]
        classes = ("Angry", "Happy", "Neutral", "Sad")
        said = [max(classes, key=lambda name: float(row[name])) for row in rows]
        right = sum(name == row["truth"] for name, row in zip(said, rows, strict=True))
        assert len(rows) == 10 and right >= 8, result.output


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--fusion", "audio", "--visual-encoder", "1d-abfcn"), "the fusion audio reads no pictures"),
        (("--visual-encoder", "3d"), "no encoder '3d'; there are 1d-abfcn, 2d-abfcn"),
        (("--visual-encoder", "2d-abfcn"), "cannot be read as 3 channels of 63 bins"),
        (("--visual", "f-mean", "--visual-encoder", "1d-abfcn"), "holds no f-mean"),
    ],
)
def test_what_cannot_be_encoded(
    extracted: tuple[Path, str], tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    arguments = ["train", "--store", extracted[0], "--out", tmp_path / "run", *options]
    result = CliRunner().invoke(fuse_main, without_idle(arguments))
    assert result.exit_code == 2 and text in " ".join(result.output.split())


def test_a_store_without_markers_says_so(tmp_path: Path) -> None:
    with (
        FeatureStore(tmp_path / "store", create=True) as store,
        pytest.raises(FusionError, match="holds no markers, so none of its clips has facial markers"),
    ):
        find(store, "visual", "markers")


def test_runs_on_markers_are_not_made_of_clips() -> None:
    with pytest.raises(ExtractError, match="reads facial markers, which clips alone do not have"):
        plan_again({"markers": FeatureKey("markers", {})})
