"""Training: the same seed gives the same bits, and what can be learnt is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avemo.cache.clips import Clip
from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import Corpus, Sequences, fitted_and_watched
from avemo.fusion.heads.registry import HEADS, Head, HeadSettings
from avemo.fusion.training.batches import Batch
from avemo.fusion.training.cards import Card, claim
from avemo.fusion.training.crossvalidation import CrossValidation, Design
from avemo.fusion.training.folds import Fold
from avemo.fusion.training.members import train_all
from avemo.fusion.training.selection import Choice
from avemo.fusion.training.training import Fit, Setup, Trained, TrainingSettings, resolve_device, train

CLASSES = ("Angry", "Happy", "Sad")
NOBODY = np.array([], dtype=np.int64)


def corpus(clips: int = 30, noise: float = 0.5) -> Corpus:
    """Clips of three classes whose frames lie about one point a class, in both streams."""
    rng = np.random.default_rng(0)
    labels = [CLASSES[i % 3] for i in range(clips)]
    streams = {}
    for stream, width in (("visual", 6), ("audio", 4)):
        centres = rng.normal(size=(3, width))
        frames = rng.integers(1, 9, clips)
        parts = [
            (centres[i % 3] + noise * rng.normal(size=(n, width))).astype(np.float32)
            for i, n in enumerate(frames)
        ]
        streams[stream] = Sequences.of(parts)
    splits = ["train" if i < clips * 2 / 3 else "val" for i in range(clips)]
    names = zip(splits, labels, strict=True)
    return Corpus(tuple(Clip(str(i), split, label=label) for i, (split, label) in enumerate(names)), streams)


class LinearHead(Head):
    """Its loss is its one weight."""

    name = "linear-of-tests"
    streams = ("visual",)

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.classes = classes

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.weight.expand(len(batch["visual"].mask), self.classes)

    def criterion(self, batch: Batch, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weight, self(batch)


LINEAR = HeadSettings(LinearHead.name)


@pytest.fixture(autouse=True)
def linear_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, LinearHead.name, LinearHead)


def setup_of(epochs: int = 3, fusion: str = "fbp", **training: float) -> Setup:
    head = HeadSettings(fusion, hidden=8, outputs=8, factors=2)
    return Setup(CLASSES, head, TrainingSettings(epochs, **training))  # type: ignore[arg-type]


def fit_of(data: Corpus, seed: int = 0) -> Fit:
    return Fit(seed, *fitted_and_watched(data, "train"))


def state(trained: Trained) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in trained.member.head.state_dict().items()}


def silent(done: int) -> None:
    pass


@pytest.mark.parametrize("fusion", [name for name, kind in HEADS.items() if kind.attends])
def test_separable_clips_are_learnt(fusion: str) -> None:
    data = corpus()
    trained = train(data, setup_of(60, fusion, batch=8, learning_rate=0.01), fit_of(data), silent)
    last = trained.history[-1]
    assert last.train_loss < trained.history[0].train_loss / 2
    assert last.val_accuracy == last.val_uar == 1
    truth = data.targets(CLASSES)
    assert (trained.probabilities.argmax(axis=1) == truth).mean() >= 0.95
    np.testing.assert_allclose(trained.probabilities.sum(axis=1), 1, atol=1e-12)


def test_the_same_seed_gives_the_same_bits_whatever_the_random_state_and_threads() -> None:
    data = corpus()
    first = train(data, setup_of(), fit_of(data), silent)
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        second = train(data, setup_of(), fit_of(data), silent)
        assert torch.equal(torch.get_rng_state(), before)  # the caller's random state is left alone
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert first.history == second.history
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    other = train(data, setup_of(), fit_of(data, seed=1), silent)
    assert any(
        not np.array_equal(a, b) for a, b in zip(state(first).values(), state(other).values(), strict=True)
    )


@pytest.mark.slow
def test_processes_give_the_same_bits_and_report_every_epoch() -> None:
    data = corpus()
    tasks = [(setup_of(), fit_of(data, seed)) for seed in range(3)]
    told: dict[int, list[int]] = {1: [], 2: []}
    results = {workers: dict(train_all(data, tasks, workers, told[workers].append)) for workers in (1, 2)}
    for number in range(3):
        one, two = (results[workers][number] for workers in (1, 2))
        assert one.history == two.history
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
        for name, values in state(one).items():
            np.testing.assert_array_equal(values, state(two)[name])
    assert told[1] == list(range(1, 10))
    assert told[2] == sorted(told[2]) and told[2][-1] == 9


def test_watching_changes_nothing() -> None:
    data = corpus()
    watched = train(data, setup_of(), fit_of(data), silent)
    blind = train(data, setup_of(), Fit(0, fit_of(data).fitted, NOBODY), silent)
    np.testing.assert_array_equal(watched.probabilities, blind.probabilities)
    assert blind.history[-1].val_accuracy is None


def test_clips_that_are_not_fitted_leave_no_trace() -> None:
    data = corpus()
    other = corpus()
    fit = fit_of(data).fitted
    for sequences in other.streams.values():
        sequences.values[~sequences.frames_of(fit)] *= 100
    first, second = (train(d, setup_of(), Fit(0, fit, NOBODY), silent) for d in (data, other))
    for name, values in state(first).items():
        np.testing.assert_array_equal(values, state(second)[name])


def test_the_learning_rate_is_halved_once_after_so_many_epochs() -> None:
    """Of a loss that is linear in one weight, Adam's step is the learning rate (Kingma and Ba, §2.1)."""
    data = corpus(3)
    steps = {}
    for halve_after in (None, 2):
        settings = TrainingSettings(5, 64, 0.01, halve_after=halve_after)
        weights = []
        for epochs in range(1, 6):
            part = replace(settings, epochs=epochs)
            trained = train(data, replace(setup_of(), head=LINEAR, training=part), fit_of(data), silent)
            weights.append(trained.member.head.state_dict()["weight"].item())
        steps[halve_after] = np.diff([0, *weights])
    np.testing.assert_allclose(np.abs(steps[None]), 0.01, rtol=1e-5)
    np.testing.assert_allclose(np.abs(steps[2]), [0.01, 0.01, 0.005, 0.005, 0.005], rtol=1e-5)


def test_a_halving_after_the_last_epoch_is_refused() -> None:
    with pytest.raises(FusionError, match="halved after epoch 50 of 50"):
        TrainingSettings(50, halve_after=50).check()
    TrainingSettings(51, halve_after=50).check()


def test_history_is_of_all_epochs() -> None:
    data = corpus()
    trained = train(data, setup_of(epochs=4), fit_of(data), silent)
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3, 4]
    last = trained.history[-1]
    truth, watch = data.targets(CLASSES), fit_of(data).watched
    right = trained.probabilities[watch].argmax(axis=1) == truth[watch]
    assert last.val_accuracy == pytest.approx(right.mean())
    losses = -np.log(trained.probabilities[watch, truth[watch]])
    assert last.val_loss == pytest.approx(losses.mean(), rel=1e-5)


def test_which_clips_are_fitted() -> None:
    data = corpus()
    fit, watch = fitted_and_watched(data, "train")
    assert (fit.tolist(), watch.tolist()) == (list(range(20)), list(range(20, 30)))
    fit, watch = fitted_and_watched(data, "train+val")
    assert (len(fit), len(watch)) == (30, 0)
    one = Corpus(tuple(Clip(clip.id, "all", label=clip.label) for clip in data.clips), data.streams)
    fit, watch = fitted_and_watched(one, "train")
    assert (len(fit), len(watch)) == (30, 0)
    hidden = Corpus(tuple(Clip(clip.id, clip.split) for clip in data.clips), data.streams)
    with pytest.raises(FusionError, match="0 labelled clips of 0 classes in train"):
        fitted_and_watched(hidden, "train")
    renamed = Corpus(tuple(Clip(c.id, c.split + "1", label=c.label) for c in data.clips), data.streams)
    with pytest.raises(FusionError, match="splits train1, val1, so 'train' cannot be fitted"):
        fitted_and_watched(renamed, "train")


def test_cross_validation_resumes_and_holds_out(tmp_path: Path) -> None:
    data = corpus()
    places = np.arange(30)
    folds = [Fold(str(k), places[places % 2 != k], places[places % 2 == k]) for k in range(2)]
    one, two = (Design(folds, range(members), [setup_of()]) for members in (1, 2))
    as_planned = [Choice(0, setup_of().training.epochs)] * 2
    card = Card("cv", {"seed": 0}, {})
    whole = CrossValidation(tmp_path / "whole", card).run(data, two, as_planned)
    for member, seed in zip(whole, (0, 1), strict=True):
        for fold in folds:
            direct = train(data, setup_of(), Fit(seed, fold.train, NOBODY), silent).probabilities
            held = {data.clips[i].key: direct[i] for i in fold.test}
            for clip, values in zip(member.clips, member.values, strict=True):
                if clip in held:
                    np.testing.assert_array_equal(values, held[clip])
        assert len(member.clips) == 30
    cut = CrossValidation(tmp_path / "cut", card)
    cut.run(data, one, as_planned)
    assert CrossValidation(tmp_path / "cut", card).missing(two) == [(0, 1), (1, 1)]
    done: list[int] = []
    resumed = CrossValidation(tmp_path / "cut", card).run(data, two, as_planned, progress=done.append)
    assert done == list(range(1, 7))  # two trainings of three epochs
    for first, second in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(first.values, second.values)


def test_a_folder_is_not_taken_from_another_run(tmp_path: Path) -> None:
    ours = Card("train", {"head": {"fusion": "fbp"}, "seed": 0}, {"members": 1})
    other = Card("train", {"head": {"fusion": "concat"}, "seed": 0}, {"members": 1})
    claim(tmp_path / "run", ours)
    claim(tmp_path / "run", Card(ours.kind, ours.settings, {"members": 2}))
    with pytest.raises(FusionError, match=r"fusion: fbp / concat.*--overwrite"):
        claim(tmp_path / "run", other)
    (tmp_path / "run/member-000.safetensors").touch()
    (tmp_path / "run/notes.txt").touch()
    claim(tmp_path / "run", other, overwrite=True, own=("member-*",))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["notes.txt", "run.json"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").touch()
    with pytest.raises(FusionError, match="do not belong to a run"):
        claim(tmp_path / "thesis", ours, overwrite=True)


def test_an_unknown_device() -> None:
    with pytest.raises(FusionError, match="no device 'abacus'"):
        resolve_device("abacus")
