"""What face networks tell a linear SVM about strangers: faces only, leave one subject out.

Each clip is the mean, the deviation and the highest of each feature over its frames, side by side,
standardised on the training clips; the SVM has C = 0.001. Nothing is chosen. "by subject" is transductive:
each subject's clips are first brought to zero mean and unit variance, those under test too. A pair A+B is
two networks' vectors side by side. Differences to the first network are tested on the same clips by McNemar's
exact test. "own classes" is what the expressions of an embedded network say without any training, the mean of
their probabilities over frames, among the classes that the clips have.

    avemo-extract CLIPS --store STORE --max-frames 10 --tta none --backbone A --backbone B
    python benchmarks/faces.py STORE A B A+B
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

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
    """``[N, D]`` of the clips of ``rows``."""
    found = [find(store, "visual", f"{feature}:{name}") for name in networks.split("+")]
    values = []
    for row in rows:
        frames = np.hstack([each.read(store, row) for each in found])
        values.append(np.concatenate([frames.mean(0), frames.std(0), frames.max(0)]))
    return np.stack(values)


def seen_by_all(store: FeatureStore, networks: Sequence[str], feature: str) -> list[Row]:
    """The clips with a class and a subject that each of the networks has seen."""
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


def own_classes(
    store: FeatureStore, rows: Sequence[Row], networks: str, feature: str, labels: np.ndarray
) -> np.ndarray | None:
    """Which clips a network's own layer of classes tells right; None where it has none for them, or
    ``feature`` is not what that layer reads."""
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
    parser.add_argument("--feature", default="basic", help="as avemo-fuse has them; default: basic")
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
