"""How well expectation-maximisation finds the class shares of unlabelled clips, and what that gains.

Clips are drawn from Gaussian classes in 16 dimensions, so that only the class shares differ between
training and test: those of AFEW's training clips, against those of its validation clips, of its test clips,
and of a larger shift. Clips are scored by the exact posteriors under the training shares, and by a logistic
regression trained on as many clips as AFEW has, calibrated by one temperature on 383 more.

It prints true and estimated shares, their largest difference, and the accuracy with the scores unchanged,
re-weighted by the estimate, and re-weighted by the true shares, the best that an estimate can do.

    python benchmarks/prior_shift.py --clips 653
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from avemo.fusion.evaluation.calibration import temperature, tempered
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.priors import reestimate, reweight
from avemo.fusion.evaluation.scores import Scores

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
TRAIN = (133, 74, 81, 150, 144, 117, 74)
TESTS = {
    "AFEW's validation shares": (64, 40, 46, 63, 63, 61, 46),
    "AFEW's test shares": (98, 40, 70, 144, 193, 80, 28),
    "mostly neutral": (5, 2, 3, 15, 60, 10, 5),
}
DIMENSIONS = 16

Probabilities = Callable[[np.ndarray], np.ndarray]


class Clips:
    """Draws points ``[N, D]`` and classes ``[N]`` from Gaussian classes."""

    def __init__(self, spread: float) -> None:
        self.rng = np.random.default_rng(0)
        self.centres = spread * self.rng.normal(size=(len(CLASSES), DIMENSIONS))

    def __call__(self, counts: tuple[int, ...], number: int) -> tuple[np.ndarray, np.ndarray]:
        truth = self.rng.choice(len(counts), number, p=np.array(counts) / sum(counts))
        return self.centres[truth] + self.rng.normal(size=(number, DIMENSIONS)), truth

    def posteriors(self, points: np.ndarray) -> np.ndarray:
        """Return the exact probabilities ``[N, C]`` under the training shares."""
        logits = np.log(TRAIN) - ((points[:, None] - self.centres) ** 2).sum(axis=2) / 2
        values = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(values / values.sum(axis=1, keepdims=True))


def scored(probabilities: Probabilities, points: np.ndarray, truth: np.ndarray) -> Scores:
    clips = tuple(("test", str(i)) for i in range(len(points)))
    return Scores(clips, CLASSES, probabilities(points), tuple(CLASSES[i] for i in truth))


def line(name: str, values: np.ndarray) -> str:
    return f"  {name:12}" + "".join(f"{value:>10.3f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=653, help="clips per test set")
    parser.add_argument(
        "--spread", type=float, default=0.55, help="spread of the class centres; larger is easier"
    )
    parser.add_argument("--draws", type=int, default=10, help="number of test sets to average over")
    options = parser.parse_args()
    draw = Clips(options.spread)
    model = LogisticRegression(max_iter=1000).fit(*draw(TRAIN, sum(TRAIN)))
    degree = temperature(scored(model.predict_proba, *draw(TRAIN, 383)))
    trained = dict(zip(CLASSES, TRAIN, strict=True))
    scorers: dict[str, tuple[Probabilities, float]] = {
        "exact posteriors": (draw.posteriors, 1.0),
        f"logistic regression at temperature {degree:.2f}": (model.predict_proba, degree),
    }
    print(f"{options.clips} clips, mean of {options.draws} draws")
    for name, counts in TESTS.items():
        shares = np.array(counts) / sum(counts)
        ideal = {each: share / trained[each] for each, share in zip(CLASSES, shares, strict=True)}
        tests = [draw(counts, options.clips) for _ in range(options.draws)]
        print(f"\n{name}\n{' ' * 14}" + "".join(f"{each:>10}" for each in CLASSES))
        print(line("trained", np.array(TRAIN) / sum(TRAIN)) + "\n" + line("true", shares))
        for scorer, (probabilities, heat) in scorers.items():
            found, accuracies = [], []
            for points, truth in tests:
                scores = tempered(scored(probabilities, points, truth), heat)
                estimate = reestimate(scores, trained)
                found.append([estimate.shares[each] for each in CLASSES])
                weighted = [scores, reweight(scores, estimate.weights), reweight(scores, ideal)]
                accuracies.append([summary(each).accuracy for each in weighted])
            before, after, best = np.mean(accuracies, axis=0)
            error = np.abs(np.array(found) - shares).max(axis=1).mean()
            print(line("estimated", np.mean(found, axis=0)) + f"   {scorer}")
            print(
                f"  largest error {error:.3f}; accuracy {before:.3f}, re-weighted {after:.3f}, by the true "
                f"shares {best:.3f}"
            )


if __name__ == "__main__":
    main()
