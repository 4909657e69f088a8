"""The head of segments: which frames are in one, its equations, the vote, and its way through the trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.features.corpus import Corpus, load
from avemo.fusion.features.recipes import find
from avemo.fusion.features.segments import (
    NONE,
    SegmentFeatures,
    frames_a_segment,
    frames_between,
    nearest,
    nearest_faces,
    segments_of,
)
from avemo.fusion.heads.registry import HeadSettings, SegmentSettings, build_head, settings_for
from avemo.fusion.heads.segments import SegmentHead
from avemo.fusion.training.batches import Batcher, Padded, Standardisation
from avemo.fusion.training.members import WORTH_PROCESSES, default_workers, train_all
from avemo.fusion.training.training import Fit, Setup, TrainingSettings
from avemo.pipelines.cli.fuse import main

from ..options import keys

SPANS = np.array([[0, 0.655], [0.3, 0.955], [0.6, 1.255]])


def at(rate: float, count: int = 100) -> np.ndarray:
    return np.arange(count) / rate


# 655 ms hold 16.4, 19.6, 19.65 and 32.75 frames. At 25 a second the first segment sees the frames 0 to 16
# (0.64 s), one too many, and loses the last; the second 8 (0.32 s) to 23 (0.92 s). At 30 they begin with the
# frames 0, 9 and 18. At 29.97 the frame 9 is at 0.3003 s, 18 at 0.6006 s. At 50 the first ends with 32.
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25, [range(0, 16), range(8, 24), range(15, 31)]),
        (30000 / 1001, [range(0, 20), range(9, 29), range(18, 38)]),
        (30, [range(0, 20), range(9, 29), range(18, 38)]),
        (50, [range(0, 33), range(15, 48), range(30, 63)]),
    ],
)
def test_the_frames_of_each_segment_by_hand(rate: float, expected: list[range]) -> None:
    times = at(rate)
    found = segments_of(times, np.ones(100, bool), SPANS)
    assert found.tolist() == [[*frames] for frames in expected]
    assert segments_of(times + 7.3, np.ones(100, bool), SPANS + 7.3).tolist() == found.tolist()


def test_the_papers_segment_has_twenty_frames() -> None:
    counts = [frames_a_segment(at(rate)) for rate in (30, 30000 / 1001, 25, 24, 15, 50, 60, 120)]
    assert counts == [20, 20, 16, 16, 10, 33, 39, 79]
    rounded = np.round(at(30), 3)  # times in milliseconds: 0, 33, 67
    assert frames_a_segment(rounded) == 20
    assert frames_a_segment(np.array([0.4])) == frames_a_segment(np.array([0.4, 0.4])) == 1


def test_too_many_frames_lose_half_at_either_end() -> None:
    assert frames_between(at(30), 0.1, 0.9, 20).tolist() == [*range(5, 25)]  # 3 to 26: 24 frames, 2 and 2 go
    assert frames_between(at(30), 0.1, 0.86, 20).tolist() == [*range(4, 24)]  # 3 to 25: 23, 1 and 2 go


def test_too_few_frames_have_the_first_and_the_last_repeated() -> None:
    ten = at(25, 10)  # 16 wanted of a clip of 0.4 s
    assert frames_between(ten, 0, 0.655, 16).tolist() == [0] * 3 + [*range(10)] + [9] * 3
    assert frames_between(ten, 0, 0.655, 17).tolist() == [0] * 3 + [*range(10)] + [9] * 4
    assert frames_between(ten, 0.2, 0.855, 16).tolist() == [5] * 6 + [6, 7, 8] + [9] * 7
    assert frames_between(ten, 0, 0.01, 3).tolist() == [0] * 3
    assert frames_between(ten, 2.0, 2.655, 4).tolist() == [9] * 4  # sound that outlasts the pictures
    assert frames_between(ten + 1, 0, 0.655, 2).tolist() == [0] * 2


def test_a_frame_without_a_face_is_the_nearest_with_one() -> None:
    faces = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 0], bool)
    expected = [2, 2, 2, 2, 2, 6, 6, 6, 8, 8]  # 4 is as near to 2 as to 6, and 7 to 6 as to 8: the earlier
    assert nearest_faces(at(25, 10), faces).tolist() == expected
    uneven, ends = np.array([0.0, 0.3, 0.4]), np.array([True, False, True])
    assert nearest_faces(uneven, ends).tolist() == [0, 2, 2]  # by time, not by number
    # before trimming and repeating: what is trimmed counts as there, and what is repeated has a face
    assert segments_of(at(25, 10), faces, SPANS[:1]).tolist() == [[2] * 3 + expected + [8] * 3]
    rng = np.random.default_rng(0)
    for _ in range(20):
        times = np.sort(rng.uniform(0, 3, 30))
        some = rng.random(30) < 0.3
        some[7] = True
        plain = [min(np.flatnonzero(some), key=lambda f, t=t: abs(times[f] - t)) for t in times]
        assert nearest_faces(times, some).tolist() == plain
    assert nearest(np.array([0.5]), np.array([-1.0, 9.0])).tolist() == [0, 0]


def test_clips_that_lack_something() -> None:
    nobody = np.zeros(50, bool)
    assert segments_of(at(25, 50), nobody, SPANS).shape == (3, 0)
    assert segments_of(at(25, 50), nobody, None).shape == (1, 0)
    assert segments_of(at(25, 0), nobody[:0], None).shape == (1, 0)
    assert segments_of(at(25, 0), nobody[:0], SPANS).shape == (3, 0)
    # no sound: 300 ms apart, from the first frame to the last, at 1.96 s: 0, 0.3, …, 1.2 (to 1.855)
    silent = segments_of(at(25, 50) + 4, ~nobody, None)
    assert silent[:, 0].tolist() == [0, 8, 15, 23, 30] and silent.shape == (5, 16)
    assert segments_of(at(25, 3), ~nobody[:3], None).tolist() == [[0] * 6 + [0, 1, 2] + [2] * 7]


def test_clips_of_several_rates_end_to_end() -> None:
    clips = [np.array([[0, 1, 2], [1, 2, 3]]), np.empty((2, 0), np.int64), np.array([[0, 0]])]
    segments = SegmentFeatures.of(clips)
    n = NONE
    assert segments.frames.tolist() == [[0, 1, 2], [1, 2, 3], [n, n, n], [n, n, n], [0, 0, n]]
    assert segments.counts.tolist() == [2, 2, 1]
    assert SegmentFeatures.of([np.empty((1, 0), np.int64)]).frames.tolist() == [[n]]


# A store of clips: 0 plain, 1 silent, 2 with a face in two frames, 3 in none, 4 no pictures, 5 nothing.

RATES = (30.0, 25.0, 30.0, 25.0)


def fill(path: Path, clips: int = 6, per_class: int = 1, noise: float = 1.0) -> FeatureStore:
    """Clips of three classes; of the first six, what is said above."""
    rng = np.random.default_rng(0)
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for i in range(clips):
            rate, frames = RATES[i % 4], 40 + 5 * (i % 3)
            times, has_face = at(rate, frames), np.ones(frames, bool)
            if i in (2, 3):
                has_face[:] = False
            if i == 2:
                has_face[[4, 30]] = True
            level, segments = i // per_class % 3, 2 + i % 2
            arrays = {
                "faces": {"times": times, "has_face": has_face},
                "net/none": {"basic": rng.normal(2 * level, noise, (frames, 5)).astype(np.float32)},
                "segments": {
                    "image": rng.integers(0, 256, (segments, 64, 64, 3)).astype(np.uint8),
                    "times": SPANS[:segments],
                },
                "segments/vgg19": {
                    "vectors": rng.normal(-level, noise, (segments, 7)).astype(np.float32),
                    "times": SPANS[:segments],
                },
            }
            lacking = {1: ("segments",), 4: ("faces", "net"), 5: ("segments", "faces", "net")}.get(i, ())
            made = {}
            for stream, own in arrays.items():
                key = FeatureKey(stream, {})
                absent = stream.partition("/")[0] in lacking
                info = {"faces": int(has_face.sum())}
                made[stream] = Outcome(key, "absent", "none") if absent else Outcome(key, "ok", "", info, own)
            clip = Clip(f"{i:02d}", "all", label=("Angry", "Happy", "Sad")[level], subject=f"s{i % 4}")
            writer.add(clip, None, made)
    return FeatureStore(path)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    store = fill(tmp_path_factory.mktemp("store") / "features")
    features = {"visual": find(store, "visual", "basic"), "audio": find(store, "audio", "mfcc-vectors")}
    return load(store, features, store.rows)


def batcher(corpus: Corpus) -> Batcher:
    everything = np.arange(len(corpus.clips))
    standard = {name: Standardisation.of(stream, everything) for name, stream in corpus.streams.items()}
    return Batcher(corpus.streams, standard, segments=corpus.segments)


def head(vote: str = "majority", dense: int = 6, **settings: object) -> SegmentHead:
    torch.manual_seed(0)
    given = settings_for("segments", segments=SegmentSettings(4, dense, vote), hidden=3, **settings)
    made = build_head(given, {"visual": 5, "audio": 7}, 3).eval()
    assert isinstance(made, SegmentHead)
    return made


def doubled(batch: Mapping[str, Padded]) -> dict[str, Padded]:
    return {
        name: stream._replace(values=stream.values.double()) if stream.values.is_floating_point() else stream
        for name, stream in batch.items()
    }


def test_segments_of_a_store(corpus: Corpus) -> None:
    segments = corpus.segments
    assert segments is not None and segments.frames.shape[1] == 20
    assert segments.counts.tolist() == [2, 4, 2, 3, 2, 1]  # the silent one has 45 frames, to 1.76 s
    of_clips = np.split(segments.frames, np.cumsum(segments.counts)[:-1])
    assert of_clips[0].tolist() == [[*range(20)], [*range(9, 29)]]
    assert (of_clips[1][:, :16] >= 0).all() and (of_clips[1][:, 16:] == NONE).all()
    assert {*of_clips[2].ravel()} == {4, 30}  # the only faces
    assert all((part == NONE).all() for part in of_clips[3:])
    assert corpus.streams["audio"].lengths.tolist() == [2, 0, 2, 3, 2, 0]
    np.testing.assert_allclose(corpus.streams["audio"].times[:2], [0.3275, 0.6275])


def test_features_of_segments(tmp_path: Path) -> None:
    store = fill(tmp_path / "features")
    first = store.rows[0]
    images = store.read(first, "segments", ["image"])["image"].astype(np.float64)
    values = find(store, "audio", "mfcc-stats").read(store, first)
    assert values is not None and values.shape == (2, 384) and values.dtype == np.float32
    for coefficient, channel in ((0, 0), (5, 2), (63, 1)):
        row = images[1, coefficient, :, channel]
        place = 3 * coefficient + channel
        np.testing.assert_allclose(values[1, [place, 192 + place]], [row.mean(), row.std()], rtol=1e-5)
    vectors = find(store, "audio", "mfcc-vectors:vgg")
    assert vectors.name == "mfcc-vectors:vgg19" and vectors.streams == ("segments/vgg19",)
    stored = store.read(first, "segments/vgg19", ["vectors"])["vectors"]
    np.testing.assert_array_equal(vectors.read(store, first), stored)
    # the head of segments reads these alone, the network's first
    among = SegmentHead.reads["audio"]
    assert find(store, "audio", "auto", among).name == "mfcc-vectors:vgg19"
    with pytest.raises(FusionError, match="logmel-stats cannot be read here; expected mfcc-vectors or mfcc-"):
        find(store, "audio", "logmel-stats", among)
    with FeatureStore(tmp_path / "other", create=True) as empty, empty.writer() as writer:
        writer.add(Clip("0", "all", label="Sad"), None, {"net/none": Outcome(FeatureKey("net/none", {}))})
    with pytest.raises(FusionError, match="--segments` adds it"):
        find(FeatureStore(tmp_path / "other"), "audio", "auto", among)


# Eq. 5-7 and what is around them as loops over one segment, in float64.


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(state: Mapping[str, np.ndarray], frames: np.ndarray) -> list[np.ndarray]:
    hidden = cell = np.zeros(4)
    outputs = []
    for frame in frames:
        gates = (
            state["lstm.weight_ih_l0"] @ frame
            + state["lstm.bias_ih_l0"]
            + state["lstm.weight_hh_l0"] @ hidden
            + state["lstm.bias_hh_l0"]
        )
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        outputs.append(hidden)
    return outputs


def loop(state: Mapping[str, np.ndarray], frames: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Logits of one segment of frames ``[L, 5]``, which may be none."""
    outputs = lstm(state, frames) or [np.zeros(4)]
    merged = [np.concatenate([output, sound]) for output in outputs]
    h = [np.tanh(state["fuse.hidden.weight"] @ c + state["fuse.hidden.bias"]) for c in merged]
    raised = [np.exp(np.abs(each) @ state["fuse.context.weight"][0]) for each in h]
    q = sum(r / sum(raised) * c for r, c in zip(raised, merged, strict=True))
    dense = np.maximum(0, state["dense.0.weight"] @ q + state["dense.0.bias"])
    return np.asarray(state["classify.weight"] @ dense + state["classify.bias"])


def test_the_head_equals_its_equations(corpus: Corpus) -> None:
    model, batches = head().double(), batcher(corpus)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    batch = doubled(batches(torch.arange(6)))
    judged = iter(model.judge(batch).detach().numpy())
    segments = corpus.segments
    assert segments is not None
    places = iter(segments.frames)
    for clip in range(6):
        frames = batch["visual"].values[clip].numpy()
        sound = batch["audio"].values[clip][batch["audio"].mask[clip]].numpy()
        for number in range(segments.counts[clip]):
            own = [frames[place] for place in next(places) if place != NONE]
            heard = sound[number] if len(sound) else np.zeros(7)
            expected = loop(state, np.array(own), heard)
            np.testing.assert_allclose(next(judged), expected, rtol=0, atol=1e-12)
    assert next(judged, None) is None


def test_gradients(corpus: Corpus) -> None:
    model, batch = head().double(), doubled(batcher(corpus)(torch.arange(6)))
    values = [batch[stream].values.requires_grad_() for stream in ("visual", "audio")]

    def logits(visual: Tensor, audio: Tensor) -> Tensor:
        given = {
            "visual": batch["visual"]._replace(values=visual),
            "audio": batch["audio"]._replace(values=audio),
            "segments": batch["segments"],
        }
        return model.judge(given)

    assert torch.autograd.gradcheck(logits, values, fast_mode=True)
    loss, _ = model.train().criterion(batch, torch.arange(6) % 3)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_the_loss_is_that_of_segments_with_their_clips_class(corpus: Corpus) -> None:
    model, batch, targets = head(), batcher(corpus)(torch.arange(6)), torch.tensor([0, 1, 2, 0, 1, 2])
    loss, logits = model.criterion(batch, targets)
    judged = model.judge(batch).log_softmax(dim=1)
    of_segments = [0, 0, 1, 1, 1, 1, 2, 2, 0, 0, 0, 1, 1, 2]
    expected = -sum(row[target] for row, target in zip(judged, of_segments, strict=True)) / 14
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, model(batch))


def further(part: Tensor) -> Tensor:
    """Twice as many steps, of which the mask's are false and others nonsense."""
    more = torch.zeros_like(part) if part.dtype == torch.bool else torch.ones_like(part)
    return torch.cat([part, more], dim=1)


@pytest.mark.parametrize("vote", ["majority", "mean"])
def test_batched_and_padded_equals_one_by_one(corpus: Corpus, vote: str) -> None:
    model, batches = head(vote), batcher(corpus)
    together = model(batches(torch.arange(6)))
    assert together.shape == (6, 3) and together.isfinite().all()
    torch.testing.assert_close(together.exp().sum(dim=1), torch.ones(6).double())
    for i in range(6):
        alone = batches(torch.tensor([i]))
        torch.testing.assert_close(together[i : i + 1], model(alone), rtol=0, atol=1e-5)
        cut = {
            name: Padded(*(part[:, : max(1, stream.mask.sum())] for part in stream))
            for name, stream in alone.items()
        }
        wanted = cut["segments"].values
        longest = max(1, int((wanted >= 0).sum(dim=2).max()))
        cut["segments"] = cut["segments"]._replace(values=wanted[:, :, :longest])
        torch.testing.assert_close(together[i : i + 1], model(cut), rtol=0, atol=1e-5)
        far = {name: Padded(*map(further, stream)) for name, stream in alone.items()}
        torch.testing.assert_close(together[i : i + 1], model(far), rtol=0, atol=1e-5)


def test_many_segments_are_judged_in_parts(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = head(dropout=0.5).train(), batcher(corpus)(torch.arange(6))
    whole = model.judge(batch)
    monkeypatch.setattr("avemo.fusion.heads.segments.AT_ONCE", 3)
    torch.testing.assert_close(model.judge(batch), whole, rtol=0, atol=1e-6)


def test_dropout_is_the_same_however_far_a_batch_is_padded(corpus: Corpus) -> None:
    model, batches = head(dropout=0.5).train(), batcher(corpus)
    alone, padded = batches(torch.tensor([0])), batches(torch.tensor([0, 1]))
    assert padded["segments"].mask.shape[1] > alone["segments"].mask.shape[1]
    torch.testing.assert_close(model.judge(padded)[:2], model.judge(alone), rtol=0, atol=1e-6)
    assert not torch.allclose(model.judge(alone), model.eval().judge(alone))


def test_what_a_clip_lacks_has_no_part_in_its_scores(corpus: Corpus) -> None:
    model, batch = head("mean"), batcher(corpus)(torch.arange(6))
    before = model(batch)

    def moved(stream: str) -> list[bool]:
        changed = {**batch, stream: batch[stream]._replace(values=batch[stream].values + 1)}
        return (model(changed) - before).abs().amax(dim=1).gt(1e-4).tolist()

    assert moved("visual") == [True, True, True, False, False, False]
    assert moved("audio") == [True, False, True, True, True, False]
    biases = model.classify(model.dense(torch.zeros(1, 11)))
    torch.testing.assert_close(before[5:].float(), biases.log_softmax(dim=1))  # nothing at all


def settled(vote: str, *segments: list[float]) -> list[float]:
    """The scores of one clip whose segments have these posteriors."""
    mask = torch.tensor([[True] * len(segments)])
    given = {"segments": Padded(torch.zeros(1, len(segments), 1, dtype=torch.int64), mask, torch.zeros(1, 1))}
    return head(vote).settle(torch.tensor(segments).log(), given).softmax(dim=1)[0].tolist()


def test_segments_vote() -> None:
    sure, two = [0.9, 0.05, 0.05], [0.3, 0.4, 0.3]
    assert settled("majority", sure, two, two) == pytest.approx([1 / 3, 2 / 3, 0], abs=2e-6)
    assert settled("mean", sure, two, two) == pytest.approx([0.5, 0.85 / 3, 0.65 / 3])
    first, second, _ = settled("majority", sure, two)  # one each: the mean posterior decides
    assert first == pytest.approx(0.5, abs=2e-6) and first > second
    close = [[0.500, 0.499, 0.001], [0.499, 0.5001, 0.0009]]
    assert np.argmax(settled("majority", *close)) == 1  # 0.999 to 0.9991
    many = settled("majority", *[[0.34, 0.33, 0.33]] * 500, *[[0.0, 0.999, 0.001]] * 499)
    assert np.argmax(many) == 0  # no posterior outvotes a segment


def test_what_the_head_does_not_read_is_refused() -> None:
    for name, value in {"visual_attention": "self", "lambda_audio": 0.3}.items():
        with pytest.raises(FusionError, match=f"segments has no {name.replace('_', ' ')}"):
            settings_for("segments", **{name: value})
    with pytest.raises(FusionError, match="the fusion fbp has no segments"):
        settings_for("fbp", segments=SegmentSettings())
    with pytest.raises(FusionError, match="no vote by 'loudness'"):
        SegmentSettings(vote="loudness")
    settings = settings_for("segments", segments=SegmentSettings(7, 0, "mean"))
    assert HeadSettings.of(settings.described()) == settings


def test_members_are_trained_one_by_one_even_where_stacking_is_asked_for(corpus: Corpus) -> None:
    settings = settings_for("segments", segments=SegmentSettings(4), hidden=3)
    setup = Setup(("Angry", "Happy", "Sad"), settings, TrainingSettings(2, 4, 1e-2))
    everything, nobody = np.arange(6), np.array([], np.int64)
    tasks = [(setup, Fit(seed, everything, nobody)) for seed in range(2)]
    told: list[int] = []
    stacked = dict(train_all(corpus, tasks, 1, told.append, stacked=True))
    plain = dict(train_all(corpus, tasks, 1, stacked=False))
    assert told == [1, 2, 3, 4]
    for number in range(2):
        np.testing.assert_array_equal(stacked[number].probabilities, plain[number].probabilities)
    assert not np.array_equal(plain[0].probabilities, plain[1].probabilities)


def test_an_lstm_is_worth_processes_sooner_than_other_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avemo.fusion.training.members.cpu_count", lambda: 3)
    fit_of = Fit(0, np.arange(WORTH_PROCESSES // 8), np.array([], np.int64))
    heads = {
        name: Setup(("Angry", "Sad"), HeadSettings(name), TrainingSettings(2)) for name in ("fbp", "segments")
    }
    assert [default_workers([(setup, fit_of)]) for setup in heads.values()] == [1, 3]


def fuse(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


QUICK = (*keys("lstm=6", "hidden=8"), "--epochs", 25, "--batch", 4, "--lr", 5e-3, "--device", "cpu")


def test_cross_validation_with_segments(tmp_path: Path) -> None:
    store = fill(tmp_path / "features", clips=24, per_class=4, noise=0.7).path
    command = ("cv", "--store", store, "--fusion", "segments", "--folds", "subject", "--members", 1, *QUICK)
    done = fuse(*command, "--out", tmp_path / "cv")
    assert done.exit_code == 0, done.output
    assert "net, 5 values, LSTM of 6 over each segment" in done.output
    assert "mfcc-vectors:vgg19, 7 values, a vector a segment" in done.output
    scores = Scores.read(tmp_path / "cv/scores.csv")
    right = np.mean([a == b for a, b in zip(scores.predicted, scores.truth, strict=True)])
    assert right >= 0.85 and done.stdout.splitlines()[-1].startswith(f"accuracy {right:.3f}  UAR ")
    whole = scores.values[0] * 2  # clip 0 has two segments
    np.testing.assert_allclose(whole, whole.round(), atol=1e-5)
    assert "0 of 4 trainings to do" in fuse(*command, "--out", tmp_path / "cv").output
    few = (*command, "--epochs", 2)
    mean = fuse(*few, "--set", "vote=mean", "--audio", "mfcc-stats", "--out", tmp_path / "mean")
    assert mean.exit_code == 0, mean.output
    card = json.loads((tmp_path / "mean/run.json").read_text())["settings"]
    assert card["head"]["segments"] == {"lstm": 6, "dense": 0, "vote": "mean"}
    assert card["features"]["audio"]["dimensions"] == 384
    other = fuse(*few, "--set", "lstm=7", "--out", tmp_path / "mean")
    assert other.exit_code == 2 and "head.segments.lstm" in other.output
    for option in (("--attention", "self"), ("--audio", "logmel-stats"), ("--set", "vote=x")):
        assert fuse(*command, *option, "--out", tmp_path / "x").exit_code == 2


def test_other_heads_read_features_of_segments_too(tmp_path: Path) -> None:
    store = fill(tmp_path / "features").path
    done = fuse("train", "--store", store, "--fusion", "am-fbp", "--audio", "mfcc-stats", "--epochs", 1,
                "--device", "cpu", "--stacked", "--members", 2, "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
