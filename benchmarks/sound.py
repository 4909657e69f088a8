"""Accuracy of a linear and a radial SVM on sound features: one vector a clip, leave one subject out.

The features are log-Mel's mean and deviation over the spoken part, and functionals
(avemo.fusion.features.functionals), standardised on the training clips. C is chosen in each fold by leaving
out its training subjects in turn. "by subject" is transductive: each subject's clips, also those under test,
are first brought to zero mean and unit variance. With --also, the SVM is also trained on another store's
recordings of the training subjects.

    python benchmarks/sound.py STORE [--also STORE]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avemo.cache.store import FeatureStore
from avemo.fusion.features.recipes import find, log_mel_spoken

FEATURES = ("log-Mel", "functionals", "both")
KERNELS: Mapping[str, list[float]] = {"linear": [1e-4, 1e-3, 1e-2, 1e-1], "rbf": [0.3, 1, 3, 10, 30]}


class Clips(NamedTuple):
    values: dict[str, np.ndarray]
    labels: np.ndarray
    subjects: np.ndarray


def read(path: Path) -> Clips:
    store = FeatureStore(path)
    feature = find(store, "audio", "functionals")
    rows = [row for row in store.rows if row.clip.label and row.clip.subject and row.has("logmel")]
    spectra = (store.read(row, "logmel")["logmel"] for row in rows)
    spoken = [spectrum[log_mel_spoken(spectrum)].reshape(-1, 120) for spectrum in spectra]
    log_mel = np.stack([np.concatenate([frames.mean(axis=0), frames.std(axis=0)]) for frames in spoken])
    functionals = np.concatenate([feature.read(store, row) for row in rows])
    values = {"log-Mel": log_mel, "functionals": functionals, "both": np.hstack([log_mel, functionals])}
    labels, subjects = (np.array([getattr(row.clip, name) for row in rows]) for name in ("label", "subject"))
    return Clips(values, labels, subjects)


def by_subject(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    for subject in np.unique(subjects):
        own = subjects == subject
        result[own] = StandardScaler().fit_transform(values[own])
    return result


def joined(clips: Clips, also: Clips) -> Clips:
    values = {name: np.concatenate([clips.values[name], also.values[name]]) for name in FEATURES}
    labels, subjects = (np.concatenate(pair) for pair in zip(clips[1:], also[1:], strict=True))
    return Clips(values, labels, subjects)


def accuracy(clips: Clips, values: np.ndarray, tested: int, kernel: str) -> float:
    """Return the accuracy over the first ``tested`` clips."""
    right = 0
    first = np.arange(len(values)) < tested
    for subject in np.unique(clips.subjects[first]):
        train, test = clips.subjects != subject, first & (clips.subjects == subject)
        search = GridSearchCV(
            make_pipeline(SimpleImputer(), StandardScaler(), SVC(kernel=kernel)),
            {"svc__C": KERNELS[kernel]},
            cv=LeaveOneGroupOut(),
        )
        search.fit(values[train], clips.labels[train], groups=clips.subjects[train])
        right += int((search.predict(values[test]) == clips.labels[test]).sum())
    return right / tested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--also", type=Path, metavar="STORE")
    arguments = parser.parse_args()
    clips = read(arguments.store)
    tested = len(clips.labels)
    if arguments.also:
        clips = joined(clips, read(arguments.also))
    print(f"{tested} clips tested, {len(clips.labels) - tested} others trained on\n")
    print(f"{'':12}{'plain':>16}{'by subject':>16}\n{'':12}{'linear     rbf  linear     rbf':>32}")
    for name in FEATURES:
        plain = clips.values[name]
        figures = [
            accuracy(clips, values, tested, kernel)
            for values in (plain, by_subject(plain, clips.subjects))
            for kernel in KERNELS
        ]
        print(f"{name:12}{''.join(f'{figure:8.3f}' for figure in figures)}", flush=True)


if __name__ == "__main__":
    main()
