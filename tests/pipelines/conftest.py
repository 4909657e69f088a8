"""Fixtures shared by the tests of pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """Three frames with a tone, a real film of a few kilobytes."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=3)
