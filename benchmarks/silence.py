"""Effect of the silence at both ends of a clip: sound only, leave one subject out, logistic regression.

The vector of a clip is the mean and deviation of its log-Mel values, over all frames or over the spoken part
only (avemo.fusion.features.recipes.spoken), standardised on the training clips.

    python benchmarks/silence.py STORE
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avemo.cache.store import FeatureStore
from avemo.fusion.features.recipes import DB_PER_NEPER, spoken
from avemo.fusion.training.folds import leave_one_out


def statistics(log_mel: np.ndarray) -> np.ndarray:
    frames = log_mel.reshape(len(log_mel), -1)
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def accuracy(values: np.ndarray, labels: np.ndarray, subjects: list[str | None]) -> float:
    right = 0
    for fold in leave_one_out(subjects):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        model.fit(values[fold.train], labels[fold.train])
        right += int((model.predict(values[fold.test]) == labels[fold.test]).sum())
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    store = FeatureStore(parser.parse_args().store)
    rows = [row for row in store.rows if row.clip.label is not None and row.has("logmel")]
    sounds = [store.read(row, "logmel")["logmel"] for row in rows]
    labels = np.array([row.clip.label for row in rows])
    subjects = [row.clip.subject for row in rows]
    whole = np.stack([statistics(sound) for sound in sounds])
    speech = np.stack([statistics(sound[spoken(sound[:, 0] * DB_PER_NEPER)]) for sound in sounds])
    print(f"whole clips  {accuracy(whole, labels, subjects):.3f}")
    print(f"spoken part  {accuracy(speech, labels, subjects):.3f}")


if __name__ == "__main__":
    main()
