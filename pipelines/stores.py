"""Open feature stores for commands, and warn about damage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..cache.store import FeatureStore


def open_store(path: Path) -> FeatureStore:
    """Open a store, and warn about damage to its journals.

    Raises:
        StoreError: there is no store.
    """
    from ..cache.store import FeatureStore

    store = FeatureStore(path)
    warn_of_damage(store)
    return store


def is_store(path: Path) -> bool:
    """Whether a folder is a store rather than a folder of clips."""
    return (path / "store.json").is_file()


def warn_of_damage(store: FeatureStore) -> None:
    """Warn about invalid journal lines, which are left out."""
    if store.senseless:
        lines = f"{len(store.senseless)} lines" if len(store.senseless) > 1 else "a line"
        click.echo(
            f"note: {store.path}: {lines} of its journals left out as invalid; avemo store verify "
            f"{store.path} names the damage, and --repair skips it",
            err=True,
        )
