"""Protocols that cannot leak: what a fold tests on has no part in what it is tested with, or it is said."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.features.normalisation import per_subject
from avemo.fusion.heads.registry import HeadSettings
from avemo.fusion.training.cards import Card
from avemo.fusion.training.crossvalidation import CrossValidation, Design
from avemo.fusion.training.duplicates import Fingerprint, alike, copies_across, fingerprint, recordings
from avemo.fusion.training.folds import SESSION, Fold, group_k_fold, inside, leave_one_out, sessions
from avemo.fusion.training.leaks import DUPLICATES, SAME_SUBJECTS, TOLERATED, check
from avemo.fusion.training.selection import WEIGHTS, Choice, Rule, choose, with_epochs, with_weight
from avemo.fusion.training.training import Fit, Setup, TrainingSettings, train
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.fuse.cv import NORMALISED

from ..options import keys, without_idle

CLASSES = ("Angry", "Happy", "Sad")
NOBODY = np.array([], dtype=np.int64)
QUICK = ("--epochs", 3, "--batch", 8, *keys("hidden=4", "outputs=4", "factors=2"), "--lr", 0.01)


def silent(done: int) -> None:
    pass


def corpus(clips: int = 36, subjects: int = 4, noise: float = 1.0, apart: float = 3.0) -> Corpus:
    """Clips of three classes in both streams; subjects have voices and faces of their own, ``apart``."""
    rng = np.random.default_rng(0)
    who = [i // 3 % subjects for i in range(clips)]
    streams = {}
    for stream, width in (("visual", 5), ("audio", 4)):
        centres, own = rng.normal(size=(3, width)), apart * rng.normal(size=(subjects, width))
        parts = [
            (centres[i % 3] + own[who[i]] + noise * rng.normal(size=(rng.integers(2, 7), width))).astype(
                np.float32
            )
            for i in range(clips)
        ]
        streams[stream] = Sequences.of(parts)
    rows = tuple(Clip(str(i), "all", label=CLASSES[i % 3], subject=f"s{who[i]}") for i in range(clips))
    return Corpus(rows, streams)


def setup_of(epochs: int = 4, fusion: str = "fbp", **training: float) -> Setup:
    head = HeadSettings(fusion, hidden=4, outputs=4, factors=2)
    return Setup(CLASSES, head, TrainingSettings(epochs, 8, **training))  # type: ignore[arg-type]


def disturbed(data: Corpus, clips: np.ndarray) -> Corpus:
    """The same corpus with other values and other classes of ``clips``."""
    streams = {}
    for name, sequences in data.streams.items():
        values = sequences.values.copy()
        values[sequences.frames_of(clips)] = 1000 - 50 * values[sequences.frames_of(clips)]
        streams[name] = replace(sequences, values=values)
    rows = list(data.clips)
    for i in clips:
        rows[i] = replace(rows[i], label=CLASSES[(CLASSES.index(str(rows[i].label)) + 1) % 3])
    return Corpus(tuple(rows), streams)


def of_subjects(data: Corpus) -> list[Fold]:
    return leave_one_out([clip.subject for clip in data.clips])


def again(data: Corpus) -> Callable[[Fold], Sequence[Fold]]:
    """Inner folds of whole subjects."""

    def divided(fold: Fold) -> Sequence[Fold]:
        clips = [data.clips[i] for i in fold.train]
        return inside(fold, group_k_fold([str(c.label) for c in clips], [c.subject for c in clips], 3))

    return divided


def test_no_statistic_of_the_held_out_clips_reaches_a_model() -> None:
    data = corpus()
    for fold in of_subjects(data):
        fit_of = Fit(0, fold.train, NOBODY)
        first, second = (
            train(each, setup_of(), fit_of, silent) for each in (data, disturbed(data, fold.test))
        )
        for name, tensor in first.member.head.state_dict().items():
            assert tensor.numpy().tobytes() == second.member.head.state_dict()[name].numpy().tobytes()
        for stream, standard in first.member.standardisations.items():
            other = second.member.standardisations[stream]
            assert standard.mean.tobytes() == other.mean.tobytes()
            assert standard.scale.tobytes() == other.scale.tobytes()
        np.testing.assert_array_equal(first.probabilities[fold.train], second.probabilities[fold.train])


@pytest.mark.parametrize("fusion", ["fbp", "decision"])
def test_nothing_is_chosen_by_the_held_out_clips(fusion: str, tmp_path: Path) -> None:
    data = corpus()
    fold = of_subjects(data)[1]
    candidates = [setup_of(4, fusion, learning_rate=rate) for rate in (1e-4, 0.02)]
    chosen = []
    for number, each in enumerate((data, disturbed(data, fold.test))):
        design = Design([fold], [0], candidates, again(data), Rule("accuracy", epoch=True))
        run = CrossValidation(tmp_path / str(number), Card("cv", {}, {}))
        chosen += run.choose(each, design)
    assert chosen[0] == chosen[1]
    assert (chosen[0].weight is None) == (fusion == "fbp")


def test_the_best_candidate_and_epoch_are_chosen() -> None:
    """A learning rate of nothing learns nothing: the other is taken. The epoch is that of the least loss."""
    data = corpus(60, noise=0.3, apart=0.3)
    labels, subjects = [str(c.label) for c in data.clips], [c.subject for c in data.clips]
    folds = inside(Fold("x", np.arange(60), NOBODY), group_k_fold(labels, subjects, 4))
    setups = [setup_of(8, learning_rate=1e-12), setup_of(8, learning_rate=0.02)]
    told: list[int] = []
    chosen = choose(data, setups, folds, Rule("loss"), seed=0, progress=told.append)
    assert (chosen.candidate, chosen.epochs) == (1, 8)
    assert told == sorted(told) and told[-1] == 2 * 4 * 8
    by_epoch = choose(data, setups[1:], folds, Rule("loss", epoch=True), seed=0)
    losses = []
    for epochs in range(1, 9):
        fits = [Fit(0, fold.train, fold.test) for fold in folds]
        last = [train(data, with_epochs(setups[1], epochs), fit_of, silent).history[-1] for fit_of in fits]
        losses.append(
            np.average([epoch.val_loss for epoch in last], weights=[len(fit_of.watched) for fit_of in fits])
        )
    assert by_epoch.epochs == int(np.argmin(losses)) + 1
    assert by_epoch.figures is not None and by_epoch.figures.loss == pytest.approx(min(losses), rel=1e-6)
    assert choose(data, setups[:1], folds, Rule(), seed=0).figures is None
    with pytest.raises(FusionError, match="no selection by 'luck'; there are accuracy, uar, loss"):
        Rule("luck")


def test_the_weight_of_decision_fusion_is_the_best_on_inner_folds() -> None:
    """The sound of these clips tells their class, their pictures tell nothing; then the other way round."""
    data = corpus(60, noise=0.3, apart=0.3)
    rng = np.random.default_rng(0)
    labels, subjects = [str(c.label) for c in data.clips], [c.subject for c in data.clips]
    folds = inside(Fold("x", np.arange(60), NOBODY), group_k_fold(labels, subjects, 4))
    settings = setup_of(8, "decision", learning_rate=0.02)
    for useless, low, high in (("visual", 0.5, 1), ("audio", 0, 0.5)):
        noise = replace(data.streams[useless], values=rng.normal(size=data.streams[useless].values.shape))
        noisy = Corpus(
            data.clips, {**data.streams, useless: replace(noise, values=noise.values.astype(np.float32))}
        )
        choice = choose(noisy, [settings], folds, Rule("loss"), seed=0)
        assert choice.weight is not None and choice.epochs == 8
        assert low <= choice.weight <= high and choice.weight != 0.5
        losses = []
        for weight in WEIGHTS:
            loss = 0.0
            for fold in folds:
                values = train(
                    noisy, with_weight(settings, weight), Fit(0, fold.train, NOBODY), silent
                ).probabilities
                loss -= np.log(values[fold.test, noisy.targets(CLASSES)[fold.test]]).sum() / 60
            losses.append(loss)
        assert choice.weight == WEIGHTS[int(np.argmin(losses))]
        assert choice.figures is not None and choice.figures.loss == pytest.approx(min(losses), rel=1e-6)
    given = with_weight(settings, 0.3)
    assert choose(data, [given], folds, Rule(), seed=0) == Choice(0, 8)
    assert Choice(0, 5, 0.25).of([settings]) == with_weight(with_epochs(settings, 5), 0.25)


def test_choices_are_kept(tmp_path: Path) -> None:
    data = corpus()
    design = Design(of_subjects(data), [0], [setup_of(3)], again(data), Rule("uar", epoch=True))
    run = CrossValidation(tmp_path, Card("cv", {}, {}))
    done: list[int] = []
    first = run.choose(data, design, progress=done.append)
    assert done[-1] == sum(map(design.inner_epochs, design.folds)) == 4 * 3 * 3
    (tmp_path / "folds/fold-02.json").unlink()
    assert run.undecided(design) == [2]
    assert run.choose(data, design) == first
    assert all(1 <= choice.epochs <= 3 for choice in first)
    (member,) = run.run(data, design, first)
    fold, epochs = design.folds[2], first[2].epochs
    direct = train(data, setup_of(epochs), Fit(0, fold.train, NOBODY), silent).probabilities
    values = dict(zip(member.clips, member.values, strict=True))
    for i in fold.test:
        np.testing.assert_array_equal(values[data.clips[i].key], direct[i])
    (tmp_path / "folds/fold-02.json").write_text("{}")
    with pytest.raises(FusionError, match=r"fold-02\.json cannot be read .* delete it"):
        run.choose(data, design)


def test_subjects_are_normalised_by_their_own_clips() -> None:
    data = corpus()
    normalised = per_subject(data)
    for name, sequences in data.streams.items():
        found = normalised.streams[name]
        np.testing.assert_array_equal(found.lengths, sequences.lengths)
        for subject in ("s0", "s1", "s2", "s3"):
            clips = np.array([i for i, clip in enumerate(data.clips) if clip.subject == subject])
            own = sequences.values[sequences.frames_of(clips)].astype(np.float64)
            expected = (own - own.mean(axis=0)) / own.std(axis=0)
            np.testing.assert_allclose(found.values[found.frames_of(clips)], expected, atol=1e-4)
    relabelled = Corpus(tuple(replace(clip, label="Sad") for clip in data.clips), data.streams)
    for name, sequences in per_subject(relabelled).streams.items():
        np.testing.assert_array_equal(sequences.values, normalised.streams[name].values)
    nameless = Corpus((replace(data.clips[0], subject=None), *data.clips[1:]), data.streams)
    with pytest.raises(FusionError, match="1 of 36 clips name no subject to normalise by: all/0"):
        per_subject(nameless)


def test_sessions_are_found_in_names() -> None:
    clips = [
        Clip("Ses01F_impro01_F000", "all"),
        Clip("Ses02M_script01", "all"),
        Clip("x", "session 3"),
        Clip("y", ""),
    ]
    assert sessions(clips, SESSION) == ["Ses01", "Ses02", "session 3", None]
    assert sessions(clips[:2], r"Ses(\d\d)") == ["01", "02"]


# Duplicates


def voice(seed: int, frames: int = 300) -> np.ndarray:
    """Something like a log-Mel spectrogram ``[T, 40]`` in nepers: syllables of some hundred milliseconds."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(frames // 15 + 2, 8))
    grid = np.linspace(0, len(coarse) - 1.001, frames)
    low = grid.astype(int)
    smooth = coarse[low] + (grid - low)[:, None] * (coarse[low + 1] - coarse[low])
    bands = np.repeat(smooth, 5, axis=1) * 2 - np.linspace(4, 8, 40)
    return bands + 0.1 * rng.normal(size=bands.shape)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    found = [fingerprint(values) for values in (first, second)]
    assert found[0] is not None and found[1] is not None
    return float(found[0] @ found[1])


def test_a_fingerprint_survives_volume_silence_and_noise_but_not_another_sound() -> None:
    sound = voice(1)
    silence = np.full((40, 40), -23.0)
    rng = np.random.default_rng(9)
    for changed in (
        sound - 1.5,
        np.concatenate([silence, sound, silence]),
        sound + 0.2 * rng.normal(size=sound.shape),
        sound[3:-3],
    ):
        assert cosine(sound, changed) > 0.98
    assert max(cosine(voice(i), voice(j)) for i in range(8) for j in range(i)) < 0.8
    assert fingerprint(np.full((100, 40), -23.0)) is None
    assert fingerprint(voice(2, 5)) is not None


def test_pairs_that_are_alike() -> None:
    rng = np.random.default_rng(0)
    prints = [fingerprint(voice(i)) for i in range(2100)]  # more than are compared at once
    copy = voice(5) + 0.05 * rng.normal(size=(300, 40))
    prints[2050], prints[7] = fingerprint(copy), None
    assert list(alike(prints)) == [(5, 2050)]
    assert list(alike([None, None])) == []


def filled(path: Path, clips: Mapping[str, Mapping[str, object]]) -> Path:
    """A store of labelled clips with faces and sound; each may name its ``subject``, ``voice``, ``file``."""
    faces, visual, sound = FeatureKey("faces", {}), FeatureKey("dlib/default", {}), FeatureKey("logmel", {})
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for number, (name, about) in enumerate(clips.items()):
            split, _, identity = name.rpartition("/")
            rng = np.random.default_rng(number)
            values = (rng.normal(size=(3, 4, 4)) + number % 3).astype(np.float32)
            heard = about.get("voice", number)
            spoken = heard if isinstance(heard, np.ndarray) else voice(int(str(heard)))
            log_mel = np.repeat(spoken[:, None], 3, axis=1).astype(np.float32)
            streams = {
                "faces": Outcome(faces, info={"frames": 4, "faces": int(number != 0)}),
                visual.stream: Outcome(
                    visual, arrays=dict(zip(("basic", "mean", "std"), values, strict=True))
                ),
                sound.stream: Outcome(sound, arrays={"logmel": log_mel}),
            }
            source = Source(str(about.get("file", name)), 1, 1)
            subject = about.get("subject", f"s{number // 3 % 3}")
            label = str(about.get("label", CLASSES[number % 3]))
            clip = Clip(identity, split or "all", label=label, subject=subject and str(subject))
            writer.add(clip, source, streams)
    return path


def cv(store: Path, out: Path, *more: object) -> Result:
    call = ("cv", "--store", store, "--out", out, "--fusion", "faces", *QUICK, *more)
    return CliRunner().invoke(main, without_idle(call))


def done(store: Path, out: Path, *more: object) -> str:
    result = cv(store, out, *more)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(store: Path, out: Path, *more: object) -> str:
    result = cv(store, out, *more)
    assert result.exit_code == 2, result.output
    assert not out.exists()
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 clips of three subjects in two sessions, nothing twice."""
    clips = {f"{'train' if i < 12 else 'val'}/Ses{1 + i % 9 // 6}_{i}": {} for i in range(18)}
    return filled(tmp_path_factory.mktemp("plain") / "features", clips)


def test_copies_are_found_each_in_its_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = voice(4) + 0.1 * rng.normal(size=(300, 40))
    clips: dict[str, dict[str, object]] = {str(i): {} for i in range(8)}
    clips["1"] = {"file": "same"}
    clips["2"] = {"file": "same", "voice": 1}
    clips["5"] = {"voice": 0}
    clips["6"] = {"voice": noisy}
    with FeatureStore(filled(tmp_path / "features", clips)) as store:
        found = recordings(store, store.rows)
    assert found == [
        Fingerprint((0, 5), "of the same sound"),
        Fingerprint((1, 2), "the same file"),
        Fingerprint((4, 6), "of the same sound by their fingerprints"),
    ]
    apart = Fold("1", np.array([0, 1, 2, 3, 4]), np.array([5, 6, 7]))
    assert [pair[:2] for pair in copies_across(apart, found)] == [(0, 5), (4, 6)]
    together = Fold("1", np.array([0, 4, 5, 6]), np.array([1, 2, 3, 7]))
    assert copies_across(together, found) == []


def test_a_copied_recording_is_refused_and_marked_if_allowed(tmp_path: Path) -> None:
    clips: dict[str, dict[str, object]] = {str(i): {} for i in range(9)}
    clips["8"] = {"voice": 0}
    store = filled(tmp_path / "features", clips)
    text = refused(store, tmp_path / "cv", "--folds", "subject")
    assert "trains on all/8 and tests on all/0, which are of the same sound" in text
    assert "--allow-duplicates" in text
    output = done(store, tmp_path / "cv", "--folds", "subject", "--allow-duplicates")
    assert output.splitlines()[-1].endswith(f"({DUPLICATES})")
    assert Scores.read(tmp_path / "cv/scores.csv").marks == (DUPLICATES,)
    same = filled(tmp_path / "same", {**clips, "8": {"voice": 6}})  # both of one subject: in no two parts
    output = done(same, tmp_path / "other", "--folds", "subject", "--allow-duplicates")
    assert DUPLICATES not in output


def train_on(store: Path, out: Path, *more: object) -> Result:
    call = ("train", "--store", store, "--out", out, "--fusion", "faces", *QUICK, *more)
    return CliRunner().invoke(main, without_idle(call))


def test_training_refuses_what_cross_validation_does(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train_on(plain, out)
    assert result.exit_code == 2 and not out.exists()
    assert "trains and tests on the same subject: s1, s2" in result.stderr
    result = train_on(plain, out, "--allow-same-subjects")
    assert result.exit_code == 0, result.output
    assert f"on val ({SAME_SUBJECTS})" in result.stdout
    assert Scores.read(out / "scores-val.csv").marks == (SAME_SUBJECTS,)
    assert Scores.read(out / "scores-train.csv").marks == ()
    assert json.loads((out / "run.json").read_text())["marks"] == [SAME_SUBJECTS]
    page = tmp_path / "report.html"
    assert CliRunner().invoke(main, ["report", str(out), "--out", str(page)]).exit_code == 0
    assert SAME_SUBJECTS in page.read_text(encoding="utf-8")

    clips: dict[str, dict[str, object]] = {
        f"{'train' if i < 6 else 'val'}/{i}": {"subject": None} for i in range(9)
    }
    clips["val/7"] = {"subject": None, "file": "train/1"}
    store = filled(tmp_path / "copied", clips)
    result = train_on(store, tmp_path / "copies")
    assert result.exit_code == 2 and not (tmp_path / "copies").exists()
    assert "trains on train/1 and tests on val/7, which are the same file" in result.stderr
    result = train_on(store, tmp_path / "copies", "--allow-duplicates")
    assert f"on val ({DUPLICATES})" in result.stdout
    assert "9 of 9 clips name no subject" in result.stderr


def test_few_copies_in_a_split_that_came_so_are_told_and_marked(
    tmp_path: Path,
) -> None:
    """AFEW itself has two in 383; its figures are of all clips."""
    clips: dict[str, dict[str, object]] = {
        f"{'train' if i < 2 else 'val'}/{i}": {"subject": None} for i in range(102)
    }
    clips["val/9"]["file"] = "train/1"
    folds = [Fold("val", np.arange(2), np.arange(2, 102))]
    with FeatureStore(filled(tmp_path / "features", clips)) as store:
        marks, notes = check(folds, store, store.rows, False, False, TOLERATED)
        assert marks == [DUPLICATES]
        told = (
            "copies of 1 clip of val are in the training set (val/9: train/1, the same file); results are "
            "marked"
        )
        assert notes[-1] == told
        with pytest.raises(FusionError, match="--allow-duplicates"):
            check(folds, store, store.rows, False, False)
        clips["val/8"]["file"] = "train/0"
    with FeatureStore(filled(tmp_path / "more", clips)) as store, pytest.raises(FusionError):
        check(folds, store, store.rows, False, False, TOLERATED)


def test_a_class_that_a_fold_lacks_is_named(tmp_path: Path) -> None:
    """And scikit-learn's bare warning of a class with fewer clips than folds does not pass through."""
    clips: dict[str, dict[str, object]] = {f"all/{i}": {"subject": f"s{i % 4}"} for i in range(12)}
    for i, about in enumerate(clips.values()):
        about["label"] = "Sad" if i == 3 else CLASSES[i // 4 % 2]  # only s3 is ever sad
    store = filled(tmp_path / "features", clips)
    for folds, name in (("subject", "s3"), ("group-kfold:2", r"\d")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = cv(store, tmp_path / folds, "--folds", folds)
        assert result.exit_code == 0, result.output
        told = f"fold {name} has no training clips of Sad: its 1 clip of that class cannot be recognised"
        assert re.search(told, result.stderr)
        assert re.search(told, (tmp_path / folds / "results.md").read_text())
        assert not [str(warning.message) for warning in caught if "populated" in str(warning.message)]


def test_subjects_on_both_sides_are_refused_and_marked_if_allowed(plain: Path, tmp_path: Path) -> None:
    text = refused(plain, tmp_path / "cv", "--folds", "kfold:3")
    assert re.search(r"fold 1 trains and tests on the same subject: s0.*--allow-same-subjects", text)
    text = refused(plain, tmp_path / "cv", "--folds", "split")
    assert "fold val trains and tests on the same subject: s1, s2" in text
    output = done(plain, tmp_path / "cv", "--folds", "kfold:3", "--allow-same-subjects")
    assert output.splitlines()[-1].endswith(f"({SAME_SUBJECTS})")
    assert json.loads((tmp_path / "cv/run.json").read_text())["marks"] == [SAME_SUBJECTS]


@pytest.mark.parametrize(
    ("kind", "folds"),
    [
        ("subject", ["s0", "s1", "s2"]),
        ("session", ["Ses1", "Ses2"]),
        ("kfold:2", ["1", "2"]),
        ("group-kfold:2", ["1", "2"]),
        ("split", ["val"]),
        ("split:val", ["val"]),
    ],
)
def test_folds(kind: str, folds: list[str], tmp_path: Path) -> None:
    """Of clips whose subjects stay in one session, and in one split."""
    clips = {}
    for i in range(18):
        who, session = i // 3 % 3, 1 + (i // 3 % 3 == 2)
        named = None if kind == "kfold:2" or kind.startswith("split") else f"s{who}"
        clips[f"{'val' if session == 2 else 'train'}/Ses{session}_{i}"] = {"subject": named}
    store = filled(tmp_path / "features", clips)
    result = cv(store, tmp_path / "cv", "--folds", kind)
    assert result.exit_code == 0, result.output
    assert ("18 of 18 clips name no subject" in result.stderr) == (clips["train/Ses1_0"]["subject"] is None)
    with (tmp_path / "cv/tables/folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == folds
    assert re.fullmatch(r"accuracy \d\.\d{3}  UAR \d\.\d{3}", result.stdout.splitlines()[-1])
    held_out = Scores.read(tmp_path / "cv/scores.csv")
    assert len(held_out.clips) == sum(int(row["clips"]) for row in rows) == (6 if "split" in kind else 18)


def test_every_trace_of_a_transductive_run_is_marked(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    output = done(plain, out, "--members", 2, "--normalise", "subject")
    last = output.splitlines()[-1]
    assert re.fullmatch(rf"accuracy \d\.\d{{3}}  UAR \d\.\d{{3}}  \({re.escape(NORMALISED)}\)", last)
    assert json.loads((out / "run.json").read_text())["marks"] == [NORMALISED]
    assert json.loads((out / "run.json").read_text())["settings"]["normalise"] == "subject"
    files = [*out.glob("*.csv"), *out.glob("tables/*.csv"), *out.glob("folds/*.csv")]
    assert len(files) == 1 + 1 + 2 + 4 + 6
    for file in files:
        with file.open() as opened:
            assert {row["marks"] for row in csv.DictReader(opened)} == {NORMALISED}, file
    text = (out / "results.md").read_text()
    assert all(NORMALISED in line for line in text.splitlines() if line.startswith("#"))
    titles = [
        line
        for line in output.splitlines()
        if line.startswith(("Folds", "Members", "Summary", "Classes", "Conf"))
    ]
    assert len(titles) == 5 and all(NORMALISED in line for line in titles)
    page = CliRunner().invoke(main, ["report", str(out)])
    assert page.exit_code == 0, page.output
    html = (out / "report.html").read_text()
    assert html.count(NORMALISED) >= 4  # a note, and each heading and row of figures
    mean = CliRunner().invoke(main, ["ensemble", str(out), "--out", str(tmp_path / "ens")])
    assert NORMALISED in mean.output
    for name in ("scores.csv", "submission.csv"):
        assert Scores.read(tmp_path / "ens" / name).marks == (NORMALISED,)
    other = cv(plain, out, "--members", 2)
    assert other.exit_code == 2 and "normalise: subject / None" in " ".join(other.stderr.split())


def test_what_cv_reports(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    output = done(plain, out, "--members", 3, "--folds", "subject")
    members = [Scores.read(out / f"member-{n:03d}.csv") for n in range(3)]
    right = [np.mean(np.array(m.truth) == np.array(m.predicted)) for m in members]
    with (out / "tables/summary.csv").open() as file:
        rows = {row["scores"]: row for row in csv.DictReader(file)}
    one, all_three = rows["one member"], rows["3 members averaged"]
    assert float(one["accuracy"]) == pytest.approx(np.mean(right))
    assert float(one["accuracy_sd"]) == pytest.approx(np.std(right, ddof=1))
    assert one["accuracy_low_clips"] == "" and all_three["accuracy_sd"] == ""
    for unit in ("clips", "subjects"):
        low, high = (float(all_three[f"accuracy_{end}_{unit}"]) for end in ("low", "high"))
        assert 0 <= low <= float(all_three["accuracy"]) <= high <= 1
    assert int(rows["3 members averaged, clips with a face"]["clips"]) == 17
    assert 0 <= float(all_three["calibration_error"]) <= 1
    with (out / "results.csv").open() as file:
        assert [float(row["accuracy"]) for row in csv.DictReader(file)] == pytest.approx(right)
    with (out / "tables/confusion.csv").open() as file:
        counts = [[int(row[name]) for name in CLASSES] for row in csv.DictReader(file)]
    assert np.sum(counts) == 18 and np.sum(counts, axis=1).tolist() == [6, 6, 6]
    text = (out / "results.md").read_text()
    for line in ("| 3 members averaged | 18 |", "| Angry | 6 |", "Calibration: ECE 0."):
        assert line in text
    assert "each fitted on the other folds" in output
    assert done(plain, out, "--members", 3, "--folds", "subject").splitlines()[-1] == output.splitlines()[-1]


def test_epochs_are_chosen_inside(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    output = done(plain, out, "--choose-epoch", "--inner-folds", 2)
    assert "epoch by accuracy on 2 inner folds; 3 of 3 folds to do" in output
    with (out / "tables/folds.csv").open() as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    kept = [json.loads((out / f"folds/fold-{n:02d}.json").read_text()) for n in range(3)]
    assert epochs == [choice["epochs"] for choice in kept]
    assert all(1 <= epoch <= 3 for epoch in epochs)
    other = cv(plain, out, "--choose-epoch", "--inner-folds", 2, "--choose-by", "uar")
    assert other.exit_code == 2 and "selection.by: accuracy / uar" in " ".join(other.stderr.split())


def test_wrong_input(plain: Path, tmp_path: Path) -> None:
    for words, message in (
        (("--folds", "group-kfold:9"), "9 folds cannot be made of 3 subjects"),
        (("--folds", "kfold:x"), "kfold:K or group-kfold:K with a number K"),
        (("--folds", "split:"), "split or split:NAME expected"),
        (("--folds", "split:test"), "to train on 'train' and test on 'test'"),
        (("--folds", "session", "--session-pattern", "Day"), "18 of 18 clips name no session: train/Ses1_0"),
        (("--folds", "session", "--session-pattern", "("), "is not a regular expression"),
    ):
        assert message in refused(plain, tmp_path / "cv", *words)
