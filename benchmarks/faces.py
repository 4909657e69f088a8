"""What face networks tell a linear SVM about strangers: faces only, leave one subject out.

Each clip is the mean, the deviation and the highest of each feature over its frames, side by side,
standardised on the training clips; the SVM has C = 0.001. Nothing is chosen. "by subject" is transductive:
each subject's clips are first brought to zero mean and unit variance, those under test too. A pair A+B is
two networks' vectors side by side. Differences to the first network are tested on the same clips by McNemar's
exact test.

    avemo-extract CLIPS --store STORE --max-frames 10 --tta none --backbone A --backbone B
    python benchmarks/faces.py STORE A B A+B
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avemo.cache.store import FeatureStore
from avemo.fusion.features.recipes import find
from avemo.pipelines.cli.table import aligned

C = 1e-3


def vectors(store: FeatureStore, networks: str, feature: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``[N, D]`` of the clips that all ``networks`` have seen, with their classes and subjects."""
    found = [find(store, "visual", f"{feature}:{name}") for name in networks.split("+")]
    values, labels, subjects = [], [], []
    for row in store.rows:
        frames = [each.read(store, row) for each in found]
        if row.clip.label and row.clip.subject and all(each is not None for each in frames):
            joined = np.hstack(frames)
            values.append(np.concatenate([joined.mean(0), joined.std(0), joined.max(0)]))
            labels.append(row.clip.label)
            subjects.append(row.clip.subject)
    return np.stack(values), np.array(labels), np.array(subjects)


def by_subject(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    for subject in np.unique(subjects):
        own = subjects == subject
        result[own] = StandardScaler().fit_transform(values[own])
    return result


def right(values: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Which clips are told right by those who never met their subject."""
    told = cross_val_predict(
        make_pipeline(StandardScaler(), SVC(kernel="linear", C=C)),
        values,
        labels,
        groups=subjects,
        cv=LeaveOneGroupOut(),
    )
    return np.asarray(told == labels)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The p of as uneven a split of the clips that only one of the two has right."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("networks", nargs="+", metavar="A[+B]", help="backbones of the store")
    parser.add_argument("--feature", default="basic", help="as avemo-fuse has them; default: basic")
    arguments = parser.parse_args()
    store = FeatureStore(arguments.store)
    rows: list[list[object]] = []
    first: list[np.ndarray] = []
    for networks in arguments.networks:
        values, labels, subjects = vectors(store, networks, arguments.feature)
        hits = [right(each, labels, subjects) for each in (values, by_subject(values, subjects))]
        first = first or hits
        row: list[object] = [networks, len(labels)]
        for own, theirs in zip(hits, first, strict=True):
            row += [f"{own.mean():.3f}", f"{mcnemar(own, theirs):.3f}"]
        rows.append(row)
    print(aligned(["networks", "clips", "plain", "p", "by subject", "p"], rows))


if __name__ == "__main__":
    main()
