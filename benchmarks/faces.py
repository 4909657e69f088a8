"""Accuracy of a linear SVM on the features of face networks: faces only, leave one subject out.

The vector of a clip is the mean, deviation and maximum of each feature over its frames, side by side and
standardised on the training clips. The SVM has C = 0.001; nothing is chosen. "by subject" is transductive:
each subject's clips, also those under test, are first brought to zero mean and unit variance. A pair A+B is
the vectors of two networks side by side. Differences to the first network are tested on the same clips by
McNemar's exact test. "own classes" is the accuracy of an embedded network's own classes without any training:
the mean of its probabilities over frames, among the classes that the clips have.

    avemo-extract CLIPS --store STORE --max-frames 10 --tta none --backbone A --backbone B
    python benchmarks/faces.py STORE A B A+B
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avemo.cache.rows import Row
from avemo.cache.store import FeatureStore
from avemo.extract.backbones import WeightsError, get
from avemo.fusion.features.recipes import find
from avemo.pipelines.cli.table import aligned
from avemo.pretrain.card import read_classifier

C = 1e-3


def vectors(store: FeatureStore, rows: Sequence[Row], networks: str, feature: str) -> np.ndarray:
    """Return a vector ``[N, D]`` for each clip of ``rows``."""
    found = [find(store, "visual", f"{feature}:{name}") for name in networks.split("+")]
    values = []
    for row in rows:
        frames = np.hstack([cast(np.ndarray, each.read(store, row)) for each in found])
        values.append(np.concatenate([frames.mean(0), frames.std(0), frames.max(0)]))
    return np.stack(values)


def seen_by_all(store: FeatureStore, networks: Sequence[str], feature: str) -> list[Row]:
    """Return the clips with a class, a subject, and features of every network."""
    names = {name for each in networks for name in each.split("+")}
    streams = [stream for name in names for stream in find(store, "visual", f"{feature}:{name}").streams]
    rows = (row for row in store.rows if row.clip.label and row.clip.subject)
    return [row for row in rows if all(row.has(stream) for stream in streams)]


def by_subject(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    for subject in np.unique(subjects):
        own = subjects == subject
        result[own] = StandardScaler().fit_transform(values[own])
    return result


def right(values: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Return which clips are classified correctly by an SVM trained without their subject."""
    told = cross_val_predict(
        make_pipeline(StandardScaler(), SVC(kernel="linear", C=C)),
        values,
        labels,
        groups=subjects,
        cv=LeaveOneGroupOut(),
    )
    return np.asarray(told == labels)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the exact p of McNemar's test on two sets of correct clips."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def own_classes(
    store: FeatureStore, rows: Sequence[Row], networks: str, feature: str, labels: np.ndarray
) -> np.ndarray | None:
    """Return which clips a network's own classification layer classifies correctly.

    None if it has no such layer for the classes, or if ``feature`` is not the input of that layer.
    """
    spec = None if set("+@:") & set(networks) else get(networks)
    if spec is None or spec.default_weights is None or feature not in ("basic", "f-mean"):
        return None
    try:
        classifier, _, classes = read_classifier(spec.default_weights())
    except WeightsError:
        return None
    wanted = np.unique(labels)
    if not set(wanted) <= set(classes):
        return None
    found, places = find(store, "visual", f"{feature}:{networks}"), [classes.index(name) for name in wanted]
    told = []
    for row in rows:
        with torch.no_grad():
            said = classifier.classes(torch.from_numpy(np.float32(found.read(store, row)))).softmax(1)
        told.append(wanted[int(said.mean(0)[places].argmax())])
    return np.asarray(np.array(told) == labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("networks", nargs="+", metavar="A[+B]", help="backbones of the store")
    parser.add_argument("--feature", default="basic", help="a visual feature of avemo-fuse; default: basic")
    arguments = parser.parse_args()
    store = FeatureStore(arguments.store)
    clips = seen_by_all(store, arguments.networks, arguments.feature)
    labels, subjects = (np.array([getattr(row.clip, name) for row in clips]) for name in ("label", "subject"))
    rows: list[list[object]] = []
    first: list[np.ndarray] = []
    spoken: np.ndarray | None = None
    for networks in arguments.networks:
        values = vectors(store, clips, networks, arguments.feature)
        hits = [right(each, labels, subjects) for each in (values, by_subject(values, subjects))]
        first = first or hits
        row: list[object] = [networks, len(labels)]
        for own, theirs in zip(hits, first, strict=True):
            row += [f"{own.mean():.3f}", f"{mcnemar(own, theirs):.3f}"]
        words = own_classes(store, clips, networks, arguments.feature, labels)
        spoken = words if spoken is None else spoken
        if words is not None and spoken is not None:
            row += [f"{words.mean():.3f}", f"{mcnemar(words, spoken):.3f}"]
        rows.append(row if words is not None else [*row, None, None])
    print(aligned(["networks", "clips", "plain", "p", "by subject", "p", "own classes", "p"], rows))


if __name__ == "__main__":
    main()
