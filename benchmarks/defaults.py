"""Compare the defaults of avemo-fuse with settings chosen without the tested subject.

For every pair of subjects, each candidate is trained on all other subjects and scored on the pair. The worth
of a candidate for subject A is its mean accuracy over every other subject B, with members trained without A
and B. The best candidate is then trained on all subjects but A and tested on A: the row "chosen". The other
rows are the default, the papers' settings, and every candidate that was chosen for some subject, each used
for all subjects. All are tested against the default by matched pairs, on the errors of one member (averaged
over seeds) and of all members averaged.

    python benchmarks/defaults.py STORE OUT [--fusion fbp|audio] [--visual FEATURE] [--members 10]

If stopped, the same command continues. With more --members, only the missing ones are trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from avemo.fusion.evaluation.comparison import errors
from avemo.fusion.evaluation.ensemble import average
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.scores import Scores, joined
from avemo.fusion.evaluation.significance import matched_pair
from avemo.fusion.training.crossvalidation import CrossValidation
from avemo.fusion.training.members import train_all
from avemo.fusion.training.selection import Choice
from avemo.fusion.training.training import Fit
from avemo.pipelines.cli.table import aligned
from avemo.pipelines.fuse.cv import Arranged, arrange
from avemo.pipelines.fuse.settings import CrossValidationSettings

PAPERS = {"learning_rate": 1e-4, "dropout": 0.3, "epochs": 200, "audio": "logmel-stats"}
CANDIDATES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "papers": {**PAPERS, "attention": "transformer"},
    "rate": {"learning_rate": 3e-4},
    "dropout": {"dropout": 0.3},
    "epochs": {"epochs": 120},
    "logmel": {"audio": "logmel-stats"},
    "transformer": {"attention": "transformer"},
}
FIXED = ("default", "papers")  # always reported
SOUND_ALONE = tuple(name for name in CANDIDATES if name != "transformer")


def arranged(name: str, common: CrossValidationSettings, out: Path) -> Arranged:
    """Read the data for a candidate and divide it into folds, one for each subject."""
    return arrange(replace(common, out=out / name, **CANDIDATES[name]))


def stacked(candidate: Arranged) -> bool:
    """Return whether members train faster as one model: with convolutions over the frames, also on a CPU."""
    return candidate.prepared.setup.head.visual_attention == "conv"


def judge(candidate: Arranged, folder: Path, members: int) -> dict[tuple[int, int], list[Scores]]:
    """Score each pair of subjects with members trained without them."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared, folds = candidate.prepared, candidate.design.folds
    places = [(a, b, m) for a, b in combinations(range(len(folds)), 2) for m in range(members)]
    files = {place: folder / "{:02d}-{:02d}-member-{:03d}.csv".format(*place) for place in places}
    missing = [place for place in places if not files[place].exists()]
    nobody = np.array([], dtype=np.int64)
    tasks = [
        (prepared.setup, Fit(m, np.intersect1d(folds[a].train, folds[b].train), nobody))
        for a, b, m in missing
    ]
    for number, trained in train_all(prepared.corpus, tasks, 1, stacked=stacked(candidate)):
        a, b, _ = place = missing[number]
        both = np.union1d(folds[a].test, folds[b].test).tolist()
        prepared.corpus.scores(prepared.setup.classes, trained.probabilities).take(both).write(files[place])
    return {
        (a, b): [Scores.read(files[a, b, m]) for m in range(members)]
        for a, b in combinations(range(len(folds)), 2)
    }


def worth(
    pairs: Mapping[tuple[int, int], Sequence[Scores]], subjects: Sequence[set[tuple[str, str]]], out: int
) -> float:
    """Return the accuracy on all subjects but ``out``, by members trained without these and ``out``."""
    right = []
    for other in {*range(len(subjects))} - {out}:
        for scores in pairs[min(out, other), max(out, other)]:
            told = zip(scores.clips, scores.predicted, scores.truth, strict=True)
            right += [predicted == truth for clip, predicted, truth in told if clip in subjects[other]]
    return float(np.mean(right))


def tested(candidate: Arranged) -> list[Scores]:
    """Return each member's scores of all subjects, as ``avemo-fuse cv`` makes them."""
    run = CrossValidation(candidate.settings.out, candidate.card)
    epochs = candidate.prepared.setup.training.epochs
    choices = [Choice(0, epochs)] * len(candidate.design.folds)
    return run.run(candidate.prepared.corpus, candidate.design, choices, stacked=stacked(candidate))


def row(name: str, members: Sequence[Scores], default: Sequence[Scores]) -> list[object]:
    mean, theirs = average(members), average(default)
    each = [summary(member).accuracy for member in members]
    cells: list[object] = [name, f"{np.mean(each):.3f} ± {np.std(each, ddof=1):.3f}"]
    cells.append(f"{summary(mean).accuracy:.3f}")
    for own, others in ((members, default), ([mean], [theirs])):
        test = matched_pair(errors(others, theirs), errors(own, theirs))
        cells += [f"{test.difference:+.3f}", f"{test.two_tailed:.3f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path, help="folder of scores")
    parser.add_argument("--fusion", choices=("fbp", "audio"), default="fbp")
    parser.add_argument("--visual", default="auto", help="as for avemo-fuse; default: auto")
    parser.add_argument("--members", type=int, default=10, help="seeds to test; default: 10")
    parser.add_argument("--inner", type=int, default=2, help="seeds to choose by; default: 2")
    arguments = parser.parse_args()
    common = CrossValidationSettings(
        arguments.store, arguments.visual, fusion=arguments.fusion, members=arguments.members, device="cpu"
    )
    names = SOUND_ALONE if arguments.fusion == "audio" else tuple(CANDIDATES)
    candidates = {name: arranged(name, common, arguments.out) for name in names}
    folds = candidates["default"].design.folds
    rows = candidates["default"].prepared.rows
    subjects = [{rows[i].clip.key for i in fold.test} for fold in folds]
    worths = {}
    for name, candidate in candidates.items():
        pairs = judge(candidate, arguments.out / "inner" / name, arguments.inner)
        worths[name] = [worth(pairs, subjects, place) for place in range(len(folds))]
        told = " ".join(f"{value:.3f}" for value in worths[name])
        print(f"{name:<12} without each subject: {told}", flush=True)
    best = [max(names, key=lambda name: worths[name][place]) for place in range(len(folds))]
    print("chosen:", ", ".join(f"{fold.name} {name}" for fold, name in zip(folds, best, strict=True)))
    scores = {name: tested(candidates[name]) for name in names if name in (*FIXED, *best)}
    chosen = []
    for m in range(arguments.members):
        of = {
            name: dict(zip(each[m].clips, range(len(each[m].clips)), strict=True))
            for name, each in scores.items()
        }
        parts = [
            scores[name][m].take([of[name][clip] for clip in sorted(clips)])
            for name, clips in zip(best, subjects, strict=True)
        ]
        chosen.append(joined(parts))
    table = [row(name, each, scores["default"]) for name, each in {"chosen": chosen, **scores}.items()]
    print(aligned(["settings", "one member", "averaged", "one: diff", "p", "averaged: diff", "p"], table))


if __name__ == "__main__":
    main()
