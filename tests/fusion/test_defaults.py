"""Settings that hold where nothing is said."""

from __future__ import annotations

import pytest

from avemo.fusion.training.defaults import FEWEST_EPOCHS, defaults_for


@pytest.mark.parametrize(
    ("clips", "epochs"), [(1, 180), (64, 180), (65, 90), (144, 60), (535, 60), (1008, 60), (2000, 32)]
)
def test_steps_stay_within_bounds(clips: int, epochs: int) -> None:
    """Batches of 64: 180 steps at least and a thousand at most, between them sixty epochs."""
    assert defaults_for("fbp", clips).epochs == epochs


def test_very_many_clips_are_gone_through_ten_times() -> None:
    assert defaults_for("fbp", 1_000_000).epochs == FEWEST_EPOCHS
    assert defaults_for("fbp", 2_000, batch=128).epochs > defaults_for("fbp", 2_000).epochs


def test_the_head_of_segments_keeps_the_papers() -> None:
    assert defaults_for("segments", 28) == defaults_for("segments", 20_000)
    assert defaults_for("segments", 28).learning_rate == 1e-4
