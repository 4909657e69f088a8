"""Sound and faces cut at the same times, and where the times of a stream's vectors come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.features.corpus import load, spread
from avemo.fusion.features.recipes import find
from avemo.fusion.features.times import sound_seconds
from avemo.fusion.heads.trunks import cut
from avemo.fusion.training.batches import Padded

SOUND = {"window": 640, "hop": 160, "sample_rate": 16_000}


def padded(*times: list[float]) -> Padded:
    longest = max(map(len, times))
    mask = torch.arange(longest) < torch.tensor([len(row) for row in times])[:, None]
    filled = torch.tensor([row + [99.0] * (longest - len(row)) for row in times])
    return Padded(torch.zeros(*mask.shape, 2), mask, filled)


def numbers(trunks: torch.Tensor) -> list[list[int]]:
    """The trunk of each vector of each clip; every vector is in one at most."""
    assert (trunks.sum(dim=2) <= 1).all()
    return [[int(frame.nonzero()) for frame in clip if frame.any()] for clip in trunks]


def test_equal_parts_of_the_time_of_both_streams() -> None:
    faces = padded([0.0, 0.4, 0.6, 1.1, 1.7], [1.0], [])
    sound = padded([0.3, 0.9, 2.0], [], [5.0, 6.0])
    trunks = cut({"visual": faces, "audio": sound}, 4)  # of the first clip: 0.5 s each
    assert numbers(trunks["visual"]) == [[0, 0, 1, 2, 3], [0], []]
    assert numbers(trunks["audio"]) == [[0, 1, 3], [], [0, 3]]


def test_trunks_of_a_given_length() -> None:
    faces = padded([0.1, 0.4, 0.7, 1.4], [2.0, 2.2])
    sound = padded([0.2, 9.0], [2.1])
    trunks = cut({"visual": faces, "audio": sound}, 3, seconds=0.5)
    assert numbers(trunks["visual"]) == [[0, 0, 1, 2], [0, 0]]  # the second clip lacks the later ones
    assert numbers(trunks["audio"]) == [[0, 2], [0]]  # what is left over is in the last


def test_one_trunk_holds_everything() -> None:
    streams = {"visual": padded([0.1, 0.5], [3.0]), "audio": padded([0.2, 0.9], [])}
    for name, trunks in cut(streams, 1).items():
        assert torch.equal(trunks[..., 0], streams[name].mask)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_a_batch_is_cut_as_each_clip_alone(shift: float) -> None:
    rng = np.random.default_rng(0)
    rows = {s: [sorted((rng.random(n) * 3 + shift).tolist()) for n in (5, 1, 9)] for s in ("visual", "audio")}
    together = cut({s: padded(*times) for s, times in rows.items()}, 6)
    for i in range(3):
        alone = cut({s: padded(times[i]) for s, times in rows.items()}, 6)
        for s in rows:
            assert torch.equal(together[s][i, : len(rows[s][i])], alone[s][0])


def store_of(path: Path, streams: dict[str, Outcome]) -> FeatureStore:
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        writer.add(Clip("a", "train", label="Angry"), None, streams)
    store.refresh()
    return store


def outcome(stream: str, settings: dict[str, object] | None = None, **arrays: np.ndarray) -> Outcome:
    return Outcome(FeatureKey(stream, settings or {}), arrays=arrays)


def times_of(store: FeatureStore, visual: str = "basic", audio: str = "auto") -> dict[str, list[float]]:
    features = {"visual": find(store, "visual", visual), "audio": find(store, "audio", audio)}
    corpus = load(store, features, store.rows)
    return {name: sequences.times.round(6).tolist() for name, sequences in corpus.streams.items()}


def test_times_of_faces_and_of_sound(tmp_path: Path) -> None:
    seen = np.array([0.0, 0.04, 0.08, 0.2])
    loud = np.full((130, 200), -90.0, np.float32)
    loud[20:120] = -10
    store = store_of(tmp_path, {
        "faces": outcome("faces", times=seen),
        "dlib/none": outcome("dlib/none", basic=np.ones((4, 3), np.float32)),
        "spectrogram": outcome("spectrogram", SOUND, spectrogram=loud),
        "alexnet@a": outcome("alexnet@a", SOUND, vectors=np.ones((3, 8), np.float32), times=seen[:3]),
    })  # fmt: skip
    assert times_of(store, audio="spectrogram")["visual"] == seen.tolist()
    frames = (0.02 + 0.01 * np.arange(130)).round(6)
    assert times_of(store, audio="spectrogram")["audio"] == frames.tolist()
    assert times_of(store, audio="alexnet")["audio"] == seen[:3].tolist()  # those stored with the vectors
    middles = times_of(store, audio="spectrogram-stats")["audio"]
    expected = [frames[20:120][start : start + 64].mean() for start in (0, 32, 36)]  # of the spoken part
    np.testing.assert_allclose(middles, expected, atol=1e-6)


def test_stored_times_are_believed_whatever_the_settings_say(tmp_path: Path) -> None:
    moments = 0.5 + 0.25 * np.arange(101)
    log_mel = np.ones((101, 3, 40), np.float32)
    views = np.array([0.0, 0.3, 0.7])
    store = store_of(tmp_path, {
        "faces": outcome("faces", times=views + 9),
        "dlib/none": outcome("dlib/none", basic=np.ones((3, 3), np.float32), times=views),
        "logmel": outcome("logmel", SOUND, logmel=log_mel, times=moments),
    })  # fmt: skip
    assert times_of(store, audio="logmel") == {"visual": views.tolist(), "audio": moments.tolist()}


def test_the_sound_ends_where_its_last_window_does(tmp_path: Path) -> None:
    """By the times that are stored, and by the settings where none are: 25 ms every 10 ms."""
    log_mel, settings = np.ones((101, 3, 40), np.float32), {"window": 400, "hop": 160, "sample_rate": 16000}
    for name, times in (("old", {}), ("new", {"times": 0.0125 + 0.01 * np.arange(101)})):
        store = store_of(tmp_path / name, {"logmel": outcome("logmel", settings, logmel=log_mel, **times)})
        assert sound_seconds(store, store.rows[0]) == pytest.approx(1.025, abs=1e-12)


def test_times_nobody_knows_are_spread_over_the_other_stream(tmp_path: Path) -> None:
    visual = {"dlib/none": outcome("dlib/none", basic=np.ones((4, 3), np.float32))}
    heard = {"logmel": outcome("logmel", SOUND, logmel=np.ones((101, 3, 40), np.float32))}
    known = times_of(store_of(tmp_path / "sound", {**visual, **heard}), audio="logmel")
    start, end = known["audio"][0], known["audio"][-1]
    np.testing.assert_allclose(known["visual"], start + (end - start) * np.array([1, 3, 5, 7]) / 8, atol=1e-5)
    deaf = {"logmel": outcome("logmel", logmel=np.ones((2, 3, 40), np.float32))}
    unknown = times_of(store_of(tmp_path / "nothing", {**visual, **deaf}), audio="logmel")
    assert unknown == {"visual": [0.125, 0.375, 0.625, 0.875], "audio": [0.25, 0.75]}
    other = {"faces": outcome("faces", times=np.arange(7.0))}  # of other frames than the vectors
    assert times_of(store_of(tmp_path / "other", {**visual, **heard, **other}), audio="logmel") == known


def test_frames_that_an_import_left_out_have_no_time(tmp_path: Path) -> None:
    values = np.ones((4, 3), np.float32)
    values[1] = np.nan
    given = outcome("own/none", {"imported": True}, basic=values, times=np.array([0.0, 1.0, 2.0, 3.0]))
    sound = outcome("logmel", SOUND, logmel=np.ones((9, 3, 40), np.float32))
    assert times_of(store_of(tmp_path, {"own/none": given, "logmel": sound}))["visual"] == [0.0, 2.0, 3.0]


def test_spread() -> None:
    assert spread(2).tolist() == [0.25, 0.75]
    assert spread(3, 1.0, 7.0).tolist() == [2.0, 4.0, 6.0]
    assert spread(0).tolist() == []
