"""Pre-training on recordings: reading, changes, encoders that others load, who is held out, the command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.io import wavfile

from avemo.extract.backbones import WeightsError, load_audio_backbone
from avemo.extract.backbones.weights import load_state
from avemo.extract.streams.spectrogram import spectrogram
from avemo.fusion.heads.encoders import EncoderSettings, build_encoder
from avemo.fusion.training.batches import Padded
from avemo.pipelines.cli.main import main
from avemo.pipelines.errors import DatasetError
from avemo.pipelines.pretrain.recordings import find_recordings
from avemo.pretrain.audio_card import read_audio, start_from, write_audio
from avemo.pretrain.audio_changes import disturbed, draw_masks, stretch
from avemo.pretrain.audio_inputs import INPUTS, input_named
from avemo.pretrain.audio_network import AudioNetwork
from avemo.pretrain.audio_samples import AudioSamples
from avemo.pretrain.errors import PretrainError
from avemo.pretrain.recipe import AudioChanges
from avemo.pretrain.recordings import PackedRecordings, Recording, RecordingSet, pack_recordings, read_sound
from avemo.pretrain.speakers import split_by_speaker

RATE = 16_000
CLASSES = ("Angry", "Sad")
STILL = AudioChanges(shift=0, gain=0, filter=0, noise=0, time_mask=0, frequency_mask=0)
ALONE = STILL, torch.Generator()
CPU = torch.device("cpu")


def voice(seconds: float = 1.0, hertz: float = 500.0, seed: int = 0) -> np.ndarray:
    """A tone with two of its harmonics that comes and goes four times a second, over faint noise."""
    draw = np.random.default_rng(seed)
    clock = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * n * hertz * clock + draw.uniform(0, 6)) / n for n in (1, 2, 3))
    beats = 1 + np.cos(2 * np.pi * 4 * clock + draw.uniform(0, 6))
    return (0.1 * tone * beats + 0.001 * draw.standard_normal(len(clock))).astype(np.float32)


def write(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, RATE, samples)
    return path


def packed_voices(
    tmp_path: Path, count: int = 24, subjects: int = 4, seconds: float = 0.8
) -> PackedRecordings:
    """Low voices of one class and high ones of the other, a little apart from subject to subject."""
    recordings = []
    for number in range(count):
        label, subject = CLASSES[number % 2], f"{number // 2 % subjects + 1:02}"
        hertz = (300 if label == "Sad" else 900) * (1 + 0.05 * int(subject))
        file = write(tmp_path / f"{number:02}.wav", voice(seconds + 0.02 * number, hertz, number))
        recordings.append(Recording(file.name, file, label, "", subject))
    return pack_recordings(RecordingSet("voices", CLASSES, tuple(recordings)), lambda: None)


class TestReading:
    def test_a_bad_recording_costs_one_and_says_why(
        self, tmp_path: Path, make_clip: Callable[..., Path]
    ) -> None:
        bad = voice()
        bad[5000] = np.nan
        files = {
            "good.wav": write(tmp_path / "good.wav", voice()),
            "video.mp4": make_clip(tmp_path / "video.mp4", frames=20),
            "nan.wav": write(tmp_path / "nan.wav", bad),
            "silent.wav": write(tmp_path / "silent.wav", np.zeros(RATE, np.int16)),
            "short.wav": write(tmp_path / "short.wav", voice(0.1)),
            "page.wav": tmp_path / "page.wav",
            "empty.wav": tmp_path / "empty.wav",
            "absent.wav": tmp_path / "absent.wav",
            "mute.mp4": make_clip(tmp_path / "mute.mp4", frames=20, sound=False),
        }
        files["page.wav"].write_text("<html>not found</html>")
        files["empty.wav"].write_bytes(b"")
        recordings = tuple(Recording(name, file, "Sad") for name, file in files.items())
        seen: list[int] = []
        packed = pack_recordings(RecordingSet("set", CLASSES, recordings), lambda: seen.append(1))
        assert len(seen) == len(files)
        assert len(packed.sounds) == 2 and packed.seconds == pytest.approx([1.0, 0.8], abs=0.1)
        reasons = {item.name: item.reason for item in packed.skipped}
        assert set(reasons) == set(files) - {"good.wav", "video.mp4"}
        for name, words in {
            "nan.wav": "finite",
            "silent.wav": "silent",
            "short.wav": "0.10 seconds of sound, expected 0.2",
            "page.wav": "not a video or sound",
            "empty.wav": "empty",
            "absent.wav": "no such file",
            "mute.mp4": "no sound",
        }.items():
            assert words in reasons[name]

    def test_none_at_all_is_an_error(self, tmp_path: Path) -> None:
        recordings = (Recording("a", tmp_path / "a.wav", "Sad"),)
        with pytest.raises(
            PretrainError, match=r"none of 1 recordings can be read; the first: a: there is no"
        ):
            pack_recordings(RecordingSet("set", CLASSES, recordings), lambda: None)

    def test_a_long_one_gives_its_beginning(self, tmp_path: Path) -> None:
        samples = np.tile(voice(1.0), 31)
        heard, warnings = read_sound(write(tmp_path / "long.wav", samples))
        assert len(heard) == 30 * RATE and not warnings
        assert np.abs(heard - samples[: 30 * RATE]).max() < 1e-6

    def test_what_does_not_fit_in_memory_is_read_again(self, tmp_path: Path) -> None:
        whole = packed_voices(tmp_path, 4)
        recordings = tuple(
            Recording(f"{n}", tmp_path / f"{n:02}.wav", CLASSES[n % 2], "", "") for n in range(4)
        )
        parts = pack_recordings(RecordingSet("set", CLASSES, recordings), lambda: None, most_bytes=60_000)
        assert sum(kept is not None for kept in parts.sounds._kept) == 1
        assert all(np.array_equal(whole.sounds[n], parts.sounds[n]) for n in range(4))

    def test_the_same_sound_stays_together_whoever_is_said_to_speak(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.wav", voice())
        other = write(tmp_path / "b.wav", voice(seed=1))
        recordings = (
            Recording("1", file, "Sad", "", "01"),
            Recording("2", other, "Sad", "", "02"),
            Recording("3", file, "Sad", "", "03"),
        )
        groups = pack_recordings(RecordingSet("set", CLASSES, recordings), lambda: None).groups
        assert groups[0] == groups[2] != groups[1]


class TestInputs:
    @pytest.mark.parametrize("name", INPUTS)
    def test_those_of_a_batch_are_stage_ones(self, name: str) -> None:
        reads = input_named(name)
        sounds = [voice(seconds, 400 + 100 * n, n) for n, seconds in enumerate((1.0, 0.7, 0.30011))]
        lengths = torch.tensor([len(samples) for samples in sounds])
        batch = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s) for s in sounds], batch_first=True)
        frames = reads.frames(lengths)
        found = reads.of_batch(batch, frames).numpy()
        for samples, values, count in zip(sounds, found, frames, strict=True):
            wanted = reads.of(samples)
            assert wanted.shape == (count, reads.channels, reads.bins)
            assert np.abs(values[:count] - wanted).max() < 0.01  # dB, and nepers

    def test_the_least_samples_that_give_so_many_frames(self) -> None:
        reads = input_named("spectrogram")
        assert reads.frames(torch.tensor([reads.samples(50), reads.samples(50) - 1])).tolist() == [50, 49]
        assert reads.rate == 100

    def test_another_name_is_told(self) -> None:
        with pytest.raises(PretrainError, match=r"no input 'mfcc': expected spectrogram or logmel"):
            input_named("mfcc")


class TestChanges:
    def test_a_stretch_is_a_part_and_anywhere(self) -> None:
        samples = np.arange(10_000, dtype=np.float32)
        draw = torch.Generator().manual_seed(0)
        starts = []
        for _ in range(200):
            part = stretch(samples, 4000, STILL, draw)
            assert len(part) == 4000 and (np.diff(part) == 1).all()
            starts.append(part[0])
        assert min(starts) < 200 and max(starts) > 5800

    def test_a_short_one_begins_later_but_keeps_most(self) -> None:
        samples = np.arange(4000, dtype=np.float32)
        draw = torch.Generator().manual_seed(0)
        starts = [stretch(samples, 8000, replace(STILL, shift=0.05), draw)[0] for _ in range(200)]
        assert max(starts) <= 800 and max(starts) > 700
        starts = [stretch(samples, 8000, replace(STILL, shift=9.0), draw)[0] for _ in range(200)]
        assert 900 < max(starts) <= 1000
        assert np.array_equal(stretch(samples, 8000, *ALONE), samples)

    def test_speed_moves_the_pitch_within_its_range(self) -> None:
        tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / RATE).astype(np.float32)
        draw = torch.Generator().manual_seed(0)
        found = []
        for _ in range(60):
            part = stretch(tone, 16_000, replace(STILL, speed=1.25), draw)
            assert len(part) == 16_000
            found.append(np.abs(np.fft.rfft(part)).argmax())
        assert 795 <= min(found) < 850 and 1200 < max(found) <= 1255

    def test_noise_has_the_ratio_and_the_colours_asked_for(self) -> None:
        lengths = torch.tensor([40_000, 24_000] * 40)
        sounds = 0.2 * torch.sin(torch.arange(40_000) * 0.1).expand(80, -1)
        sounds = sounds * (torch.arange(40_000) < lengths[:, None])
        changes = replace(STILL, noise=1.0, snr=10.0)
        noise = disturbed(sounds, lengths, changes, torch.Generator().manual_seed(0)) - sounds
        assert (noise[1::2, 24_000:] == 0).all()
        ratio = 10 * (sounds.square().sum(1) / noise.square().sum(1)).log10()
        assert 10 <= ratio.min() < 12 and 28 < ratio.max() <= 30.01
        density = torch.fft.rfft(noise[::2]).abs().square()
        low, high = density[:, 500:1000].mean(1), density[:, 10_000:11_000].mean(1)  # 300 and 4200 Hz
        slopes = (low / high).log2() / np.log2(10_500 / 750)
        assert -0.1 < slopes.min() < 0.3 and 1.7 < slopes.max() < 2.1

    def test_the_share_with_noise_and_the_gain(self) -> None:
        sounds, lengths = torch.ones(400, 3000), torch.full((400,), 3000)
        draw = torch.Generator().manual_seed(0)
        noisy = disturbed(sounds, lengths, replace(STILL, noise=0.25), draw)
        assert 70 < ((noisy - 1).abs().amax(1) > 0).sum() < 130
        louder = 20 * disturbed(sounds, lengths, replace(STILL, gain=6.0), draw)[:, 0].log10()
        assert -6 <= louder.min() < -5.5 and 5.5 < louder.max() <= 6

    def test_a_filter_is_smooth_and_within_its_range(self) -> None:
        sounds, lengths = torch.zeros(50, 16_000), torch.full((50,), 16_000)
        sounds[:, 5000] = 1  # all frequencies alike
        filtered = disturbed(sounds, lengths, replace(STILL, filter=8.0), torch.Generator().manual_seed(0))
        decibels = 20 * torch.fft.rfft(filtered).abs().log10()
        assert 7 < decibels.abs().max() <= 8.01
        assert (decibels[:, 50] - decibels[:, 8000]).abs().mean() > 3
        assert (decibels[:, 2000:] - decibels[:, 1500:-500]).abs().max() < 5  # a quarter of an octave or so
        short = torch.full((50,), 9000)
        assert (disturbed(sounds, short, replace(STILL, filter=8.0), torch.Generator())[:, 9000:] == 0).all()

    def test_masks_hide_no_more_than_asked_for(self) -> None:
        mask = torch.arange(200) < torch.tensor([200, 60] * 50)[:, None]
        draw = torch.Generator().manual_seed(0)
        unmasked = draw_masks(mask, 40, 100.0, replace(STILL, time_mask=0.3), draw)
        hidden = (unmasked[:, :, 0] == 0).all(2) & mask
        assert 40 < hidden[::2].sum(1).max() <= 62 and 0 < hidden[1::2].sum(1).max() <= 26
        unmasked = draw_masks(mask, 40, 100.0, replace(STILL, frequency_mask=0.25), draw)
        hidden = (unmasked[:, :, 0] == 0).all(1)
        assert 12 < hidden.sum(1).max() <= 22 and hidden.any(0).all()
        assert (draw_masks(mask, 40, 100.0, *ALONE) == 1).all()

    @pytest.mark.parametrize(("name", "reads"), [("alexnet", "spectrogram"), ("fcn", "logmel")])
    def test_without_changes_a_short_recording_is_as_it_is(
        self, tmp_path: Path, name: str, reads: str
    ) -> None:
        packed = packed_voices(tmp_path, 4)
        network = AudioNetwork(name, reads).fitted_to(packed.sounds, range(4), lambda: None)
        samples = AudioSamples(packed, network, STILL)
        rows = np.array([2, 0])
        changed = samples.changed(rows, 0, torch.Generator(), CPU)
        assert torch.allclose(changed, samples.plain(rows, 300, CPU), atol=0.02)

    def test_same_seed_same_changes(self, tmp_path: Path) -> None:
        packed = packed_voices(tmp_path, 4)
        samples = AudioSamples(packed, AudioNetwork(), AudioChanges(frames=70, speed=1.1))
        one, two, other = (
            samples.changed(np.arange(4), 0, torch.Generator().manual_seed(seed), CPU) for seed in (1, 1, 2)
        )
        assert one.shape == (4, 70, 601) and torch.isfinite(one).all()
        assert torch.equal(one, two) and not torch.equal(one, other)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> PackedRecordings:
    return packed_voices(tmp_path_factory.mktemp("voices"), 6)


def network_with_weights(voices: PackedRecordings, path: Path, **settings: object) -> AudioNetwork:
    """A random one with two classes, written to ``path``."""
    network = AudioNetwork(**settings).fitted_to(voices.sounds, range(6), lambda: None)  # type: ignore[arg-type]
    torch.manual_seed(0)
    classifier = network.classifier(2).eval()
    for bias in (convolution.bias for convolution in classifier.trunk.encoder.features.values()):
        torch.nn.init.normal_(bias, std=0.1)
    write_audio(path, classifier, network, {"architecture": network.name, "classes": list(CLASSES)})
    return network


class TestNetworks:
    def test_values_are_standardised_by_those_fitted(self, voices: PackedRecordings) -> None:
        network = AudioNetwork("fcn", "logmel").fitted_to(voices.sounds, [0, 2, 4], lambda: None)
        frames = torch.cat([network.plain(voices.sounds[row]) for row in (0, 2, 4)])
        assert frames.shape[1] == 121 and (frames[:, -1] == 1).all()
        assert frames[:, :-1].mean(0).abs().max() < 1e-4
        assert (frames[:, :-1].std(0, unbiased=False) - 1).abs().max() < 1e-3

    @pytest.mark.parametrize(
        "settings",
        [{}, {"name": "fcn", "input": "logmel", "lrn": True}, {"name": "fcn", "pooling": "mean"}],
    )
    def test_round_trip_and_a_batch_is_as_each_alone(
        self, voices: PackedRecordings, tmp_path: Path, settings: dict[str, object]
    ) -> None:
        path = tmp_path / "mine.safetensors"
        network = network_with_weights(voices, path, **settings)
        classifier, again, classes = read_audio(path)
        assert (again, classes) == (network, CLASSES)
        samples = AudioSamples(voices, network, STILL)
        rows = np.arange(6)
        with torch.no_grad():
            together = classifier(samples.plain(rows, 1, CPU))
            alone = torch.cat([classifier(samples.plain(rows[n : n + 1], 1, CPU)) for n in range(6)])
        assert together.shape == (6, 2)
        assert torch.allclose(together, alone, atol=1e-4 * float(together.abs().max()))

    def test_stage_one_reads_alexnet_and_gives_the_same_vectors(
        self, voices: PackedRecordings, tmp_path: Path
    ) -> None:
        path = tmp_path / "mine.safetensors"
        network = network_with_weights(voices, path)
        encoder = read_audio(path)[0].trunk.encoder
        backbone = load_audio_backbone(f"alexnet@{path}")
        assert backbone.label == "alexnet@mine"
        for samples in (voice(1.5), voice(0.5)):  # the second is shorter than 63 frames
            inputs = network.plain(samples)[None]
            with torch.no_grad():
                mine = encoder(Padded(inputs[..., :-1], inputs[..., -1] > 0, torch.zeros(inputs.shape[:2])))
            theirs, _ = backbone(spectrogram(samples).T)
            assert torch.allclose(mine.values[0], theirs, atol=1e-4 * float(theirs.abs().max()))

    @pytest.mark.parametrize(("reads", "lrn"), [("spectrogram", True), ("logmel", False)])
    def test_a_head_starts_from_fcn(
        self, voices: PackedRecordings, tmp_path: Path, reads: str, lrn: bool
    ) -> None:
        path = tmp_path / "mine.safetensors"
        network = network_with_weights(voices, path, name="fcn", input=reads, lrn=lrn)
        channels, bins = network.reads.channels, network.reads.bins
        theirs = build_encoder(EncoderSettings("1d-abfcn", channels, lrn), channels * bins)
        theirs.start_from(load_state(path))
        inputs = network.plain(voices.sounds[0])[None]
        stream = Padded(inputs[..., :-1], inputs[..., -1] > 0, torch.zeros(inputs.shape[:2]))
        with torch.no_grad():
            assert torch.equal(theirs(stream).values, read_audio(path)[0].trunk.encoder(stream).values)

    def test_a_network_starts_from_another(self, voices: PackedRecordings, tmp_path: Path) -> None:
        path = tmp_path / "mine.safetensors"
        network = network_with_weights(voices, path)
        torch.manual_seed(1)
        other = AudioNetwork("fcn").classifier(3)
        start_from(other, AudioNetwork("fcn"), str(path))
        theirs, mine = other.trunk.encoder.state_dict(), load_state(path)
        assert torch.equal(theirs["features.3.weight"], mine["features.3.weight"])
        assert torch.allclose(theirs["features.0.weight"], mine["features.0.weight"].sum(1, keepdim=True))
        strange = AudioNetwork("fcn", "logmel", pooling=network.pooling)
        start_from(strange.classifier(2), strange, str(path))
        torch.save({"weight": torch.zeros(2)}, tmp_path / "strange.pt")
        with pytest.raises(PretrainError, match=r"strange\.pt: the weights to start from do not fit"):
            start_from(other, AudioNetwork("fcn"), str(tmp_path / "strange.pt"))

    def test_it_computes_in_bf16(self, voices: PackedRecordings) -> None:
        network = AudioNetwork("fcn", "logmel").fitted_to(voices.sounds, range(6), lambda: None)
        torch.manual_seed(0)
        classifier = network.classifier(2).eval()
        inputs = AudioSamples(voices, network, STILL).plain(np.arange(6), 1, CPU)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            fast = classifier(inputs).float()
        with torch.no_grad():
            assert torch.allclose(fast, classifier(inputs), atol=0.05)

    def test_settings_that_do_not_fit(self) -> None:
        with pytest.raises(PretrainError, match="no audio network is called 'vgg'"):
            AudioNetwork("vgg")
        with pytest.raises(PretrainError, match="alexnet reads only spectrograms: for logmel, use fcn"):
            AudioNetwork("alexnet", "logmel")
        with pytest.raises(PretrainError, match="alexnet has no local response normalisation"):
            AudioNetwork(lrn=True)
        with pytest.raises(PretrainError, match="cannot be pooled by 'max'"):
            AudioNetwork(pooling="max")

    def test_other_files_are_told(self, tmp_path: Path) -> None:
        import safetensors.torch

        path, about = tmp_path / "other.safetensors", {"architecture": "fcn", "classes": '["a", "b"]'}
        for network in (None, "[]", "{}", '{"name": "fcn"}', json.dumps(AudioNetwork("fcn").__dict__)):
            extra = {} if network is None else {"network": network}
            safetensors.torch.save_file({"a": torch.zeros(1)}, path, {**about, **extra})
            with pytest.raises(WeightsError, match="does not say which audio network"):
                read_audio(path)


class TestHeldOut:
    def test_nobody_speaks_on_both_sides(self, tmp_path: Path) -> None:
        packed = packed_voices(tmp_path, 40, subjects=5, seconds=0.3)
        sides = set()
        for seed in range(6):
            train_rows, held_out_rows = split_by_speaker(packed, 0.2, seed)
            assert sorted([*train_rows, *held_out_rows]) == list(range(40))
            assert not {*packed.subjects[train_rows]} & {*packed.subjects[held_out_rows]}
            assert len({*packed.subjects[held_out_rows]}) == 1
            sides.add(packed.subjects[held_out_rows][0])
        assert len(sides) > 1
        assert len(split_by_speaker(packed, 0.05, 0)[1]) == 8  # one of five is more than a twentieth
        assert len(split_by_speaker(packed, 0, 0)[1]) == 0

    def test_those_chosen_are_held_out_and_test_stays_away(self, tmp_path: Path) -> None:
        packed = packed_voices(tmp_path, 40, subjects=5, seconds=0.3)
        packed = replace(packed, parts=np.where(packed.subjects == "05", "test", "val"))
        train_rows, held_out_rows = split_by_speaker(packed, 0.1, 0, ["02", "04"])
        assert {*packed.subjects[held_out_rows]} == {"02", "04"} and {*packed.subjects[train_rows]} == {
            "01",
            "03",
        }
        with pytest.raises(
            PretrainError, match="no recording is of subject '7'; subjects: 01, 02, 03, 04, 05"
        ):
            split_by_speaker(packed, 0.1, 0, ["7"])

    def test_what_is_refused(self, tmp_path: Path) -> None:
        packed = packed_voices(tmp_path, 16, seconds=0.3)
        nobody = replace(packed, subjects=np.full(16, ""), groups=np.arange(16))
        with pytest.raises(PretrainError, match="16 of 16 recordings do not say who speaks"):
            split_by_speaker(nobody, 0.25, 0)
        assert len(split_by_speaker(nobody, 0.25, 0, allow_unnamed=True)[1]) == 4
        one = replace(packed, subjects=np.full(16, "01"), groups=np.zeros(16, int))
        with pytest.raises(PretrainError, match="are of one subject, so nobody can be held out"):
            split_by_speaker(one, 0.25, 0)
        assert len(split_by_speaker(one, 0, 0)[0]) == 16
        both = replace(packed, parts=np.array(["train", "train", "val", "val"] * 4), subjects=one.subjects)
        with pytest.raises(
            PretrainError, match="subject '01' speaks in the training part and in the held-out"
        ):
            split_by_speaker(both, 0.25, 0)
        with pytest.raises(PretrainError, match="no recording to train on for Sad"):
            split_by_speaker(replace(packed, labels=np.eye(2, dtype=np.float32)[[0] * 16]), 0.25, 0)


class TestFinding:
    def touch(self, root: Path, *names: str) -> Path:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    def test_names_that_tell_all(self, tmp_path: Path) -> None:
        self.touch(tmp_path, "01-02-06_03.ogg", "07-02-04_02.ogg")
        found = find_recordings(tmp_path)
        assert (found.name, found.classes) == ("Java-SED", ("Angry", "Surprise"))
        assert [(r.label, r.subject, r.part) for r in found.recordings] == [
            ("Angry", "01", ""),
            ("Surprise", "07", ""),
        ]

    def test_class_folders_with_a_pattern_and_an_empty_class(self, tmp_path: Path) -> None:
        self.touch(tmp_path, "anger/anna-1.wav", "anger/ben-1.mp3", "Sad/anna-2.flac", "Sad/ben-2.mp4")
        (tmp_path / "Fear").mkdir()
        found = find_recordings(
            tmp_path, pattern="{emotion}/{actor}-*", labels={"anger": "Angry", "sad": "Sad"}
        )
        assert found.classes == ("Angry", "Sad")
        assert [r.subject for r in found.recordings] == ["anna", "ben", "anna", "ben"]
        assert found.skipped == (("Fear", "a class folder without any recording"),)
        with pytest.raises(DatasetError, match=r"anger/anna-1"):
            find_recordings(tmp_path, pattern=r"{emotion}/{actor:\d\d}-*")

    def test_parts_and_a_manifest(self, tmp_path: Path) -> None:
        self.touch(tmp_path, "train/Sad/a.wav", "train/Happy/b.wav", "val/Sad/c.wav", "test/d.wav")
        found = find_recordings(tmp_path, without=[])
        assert [r.part for r in found.recordings] == ["train", "train", "val"]
        assert found.notes == ("1 recording without a label left out",)
        table = tmp_path / "some.csv"
        table.write_text(
            "path,label,subject,split\ntrain/Sad/a.wav,Sad,Ann,train\nval/Sad/c.wav,Happy,,\n", "utf-8"
        )
        found = find_recordings(table)
        assert found.name == "some"
        assert [(r.subject, r.part) for r in found.recordings] == [("Ann", "train"), ("", "")]
        table.write_text("path,label,split\ntrain/Sad/a.wav,Sad,extra\nval/Sad/c.wav,Happy,\n", "utf-8")
        with pytest.raises(PretrainError, match="of split 'extra': expected train, val, test or none"):
            find_recordings(table)

    def test_what_is_refused(self, tmp_path: Path) -> None:
        self.touch(tmp_path, "a.wav")
        with pytest.raises(PretrainError, match=r"has a label\. Expected a CSV"):
            find_recordings(tmp_path, "flat")
        with pytest.raises(DatasetError, match="nonsense"):
            find_recordings(tmp_path, "nonsense")
        with pytest.raises(PretrainError, match=r"has a label\. Expected a CSV"):
            find_recordings(tmp_path)
        (tmp_path / "none").mkdir()
        with pytest.raises(DatasetError, match="no clips"):
            find_recordings(tmp_path / "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six actors of Java-SED by their names, low and high voices."""
    root = tmp_path_factory.mktemp("recordings")
    for actor in range(1, 7):
        for emotion, hertz in ((2, 300), (6, 900)):
            for again in (2, 3):
                samples = voice(0.7 + 0.01 * actor, hertz * (1 + 0.02 * actor), 10 * actor + again)
                write(root / f"{actor:02}-01-{emotion:02}_{again:02}.wav", samples)
    return root


class TestCommand:
    FCN = ("--backbone", "fcn", "--input", "logmel")
    QUICK = (*FCN, "--augment", "frames=80", "--batch", "4", "--dropout", "0", "--device", "cpu")

    def run(self, *words: object, command: tuple[str, ...] = ("pretrain", "audio")) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*command, *map(str, words)], prog_name="avemo")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    def test_train_and_evaluate(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "mine.safetensors"
        words = ("--data", folder, "--held-out-subjects", "02,05", "--out", out)
        code, text = self.run(*words, *self.QUICK, "--epochs", "8")
        assert code == 0, text
        assert "to fit 16 recordings of 01, 03, 04, 06; held out 8 recordings of 02, 05" in text
        card = json.loads(out.with_suffix(".json").read_text())
        assert (card["architecture"], card["classes"]) == ("fcn", ["Angry", "Sad"])
        assert card["data"]["held_out_subjects"] == ["02", "05"] and card["data"]["recordings"] == 24
        assert card["counts"]["held_out"] == {"Angry": 4, "Sad": 4}
        assert card["preprocessing"]["sample_rate"] == 16_000 and card["preprocessing"]["window"] == 400
        assert len(card["preprocessing"]["mean"]) == 120
        assert card["identity"]["recipe"]["augmentation"]["frames"] == 80
        assert card["held_out"]["accuracy"] >= 0.75  # two pitches, more than ten semitones apart
        assert f"\naccuracy {card['held_out']['accuracy']:.3f}  UAR " in text
        code, text = self.run(*words, *self.QUICK, "--epochs", "8")
        assert code == 0 and "trained already" in text
        code, text = self.run("--evaluate", "--weights", out, *words)
        assert code == 0
        assert "mine.safetensors on Java-SED 02, 05: 8 recordings of 02, 05" in text and "note:" not in text
        accuracy = card["held_out"]["accuracy"]
        assert text.strip().splitlines()[-1] == f"accuracy {accuracy:.3f}  UAR {accuracy:.3f}"
        code, text = self.run("--evaluate", "--weights", out, "--data", folder)
        assert code == 0 and "note: it was trained on subjects called 01, 03, 04, 06" in text

    def test_alexnet_goes_into_stage_one(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "mine.safetensors"
        words = ("--data", folder, "--out", out, "--epochs", "1", "--augment", "frames=70", "--half")
        code, text = self.run(*words, "--batch", "10", "--device", "cpu")
        assert code == 0, text
        one = tmp_path / "one"
        write(one / "Sad" / "a.wav", voice())
        write(one / "Angry" / "b.wav", voice(hertz=900))
        store = tmp_path / "features"
        words = (one, "--store", store, "--audio-backbone", f"alexnet@{out}", "--workers", 1)
        code, text = self.run(*words, command=("extract",))
        assert code == 0, text
        from avemo.cache.store import FeatureStore

        with FeatureStore(store) as opened:
            vectors = [opened.read(row, "alexnet@mine")["vectors"] for row in opened.rows]
        assert [v.shape for v in vectors] == [(10, 256), (10, 256)]

    def test_a_bad_recording_costs_one(self, folder: Path, tmp_path: Path) -> None:
        bad = write(folder / "01-02-02_02.wav", np.zeros(16_000, np.float32))
        words = ("--data", folder, "--out", tmp_path / "mine.safetensors", *self.QUICK, "--epochs", "1")
        code, text = self.run(*words)
        bad.unlink()
        assert code == 1
        assert "left out: 01-02-02_02.wav: is silent" in text and (tmp_path / "mine.safetensors").exists()

    def test_wrong_words_are_told(self, folder: Path, tmp_path: Path) -> None:
        words = ("--data", folder, "--out", tmp_path / "mine.safetensors", *self.QUICK)
        for wrong, told in (
            (("--held-out-subjects", "09"), "no recording is of subject '09'"),
            (("--backbone", "vgg"), "no audio network is called 'vgg'"),
            (("--backbone", "alexnet"), "alexnet reads only spectrograms"),
            (("--backbone", "fcn@nowhere.pt"), "nowhere.pt"),
            (("--augment", "speed=3"), "--augment speed=3: expected a number from 1 to 2"),
            (("--augment", "frames=80.5"), "expected a whole number from 63 on"),
            (("--augment", "blur=1"), "expected NAME=VALUE, of frames, shift, speed"),
            (("--labels", "Sad="), "is incomplete; expected NAME=CLASS"),
            (("--without", "Sad"), "expected two classes or more"),
            (("--evaluate",), "there are no weights"),
        ):
            code, text = self.run(*words, *wrong)
            assert code == 2 and told in text, text
        assert not list(tmp_path.iterdir())

    def test_classes_that_the_network_does_not_know(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "two.safetensors"
        words = ("--data", folder, "--out", out, *self.QUICK, "--epochs", "1")
        assert self.run(*words)[0] == 0
        words = ("--evaluate", "--weights", out, "--data", folder)
        code, text = self.run(*words, "--labels", "Sad=Bored,Angry")
        assert code == 2 and "recordings of Bored" in text and "--labels" in text

    def test_two_processes_print_once(self, folder: Path, tmp_path: Path) -> None:
        script = tmp_path / "run.py"  # which Lightning starts once more
        script.write_text("from avemo.pipelines.cli.main import main\n\nmain()\n")
        command = [sys.executable, str(script), "pretrain", "audio"]
        words = ("--data", str(folder), "--out", str(tmp_path / "two.safetensors"), *self.QUICK)
        done = subprocess.run(
            [*command, *words, "--epochs", "1", "--processes", "2", "--json"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout)["weights"].endswith("two.safetensors")  # one object, not two
        assert done.stderr.count(" recordings: ") == 1
        assert done.stderr.count(": to fit ") == 1

    @pytest.mark.slow
    def test_two_machines_train_what_two_processes_do(self, folder: Path, tmp_path: Path) -> None:
        """Each of one process, started as on machines of their own."""
        script = tmp_path / "run.py"
        script.write_text("from avemo.pipelines.cli.main import main\n\nmain()\n")
        words = ("pretrain", "audio", "--data", str(folder), *self.QUICK, "--epochs", "1")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = []
        for number in range(2):
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={number}"]
            launcher += [
                "--nproc-per-node=1",
                "--master-addr=127.0.0.1",
                f"--master-port={port}",
                str(script),
            ]
            command = [*launcher, *words, "--nodes", "2", "--out", str(tmp_path / "nodes.safetensors")]
            started.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
        first, second = (process.communicate(timeout=300) for process in started)
        assert [process.returncode for process in started] == [0, 0], (first, second)
        assert "nodes.safetensors" in first[0] and second[0] == ""
        processes = tmp_path / "processes.safetensors"
        command = [sys.executable, str(script), *words, "--processes", "2", "--out", str(processes)]
        subprocess.run(command, check=True, capture_output=True)
        assert (tmp_path / "nodes.safetensors").read_bytes() == processes.read_bytes()

    def test_real_recordings(self, shared: Path, tmp_path: Path) -> None:
        source = shared / "data" / "java_sed" / "speech"
        if not source.is_dir():
            pytest.skip("needs real recordings, ../shared/data/java_sed/speech, which are not here")
        for actor in ("01", "05"):
            for emotion in range(1, 7):
                for again in ("02", "03"):
                    name = f"{actor}-01-{emotion:02}_{again}.ogg"
                    (tmp_path / name).symlink_to(source / name)
        out = tmp_path / "mine.safetensors"
        words = ("--data", tmp_path, "--held-out-subjects", "05", "--out", out, *self.QUICK)
        code, text = self.run(*words, "--epochs", "2")
        assert code == 0, text
        assert "24 recordings: Angry 4, Fear 4, Happy 4, Neutral 4, Sad 4, Surprise 4" in text
        assert "to fit 12 recordings of 01; held out 12 recordings of 05" in text
        card = json.loads(out.with_suffix(".json").read_text())
        assert 30 < card["data"]["seconds"] < 150 and len(card["history"]) == 2
        assert all(np.isfinite(epoch["val_loss"]) for epoch in card["history"])
