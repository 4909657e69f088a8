"""Opening a feature store as a command does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..cache.store import FeatureStore


def open_store(path: Path, create: bool = False) -> FeatureStore:
    """A store; what of its journals makes no sense is told.

    Raises:
        StoreError: there is none.
    """
    from ..cache.store import FeatureStore

    store = FeatureStore(path, create=create)
    if store.senseless:
        lines = f"{len(store.senseless)} lines" if len(store.senseless) > 1 else "a line"
        click.echo(
            f"note: {path} leaves out what {lines} of its journals told; avemo store verify {path} names "
            "the damage, and --drop lets it pass",
            err=True,
        )
    return store
