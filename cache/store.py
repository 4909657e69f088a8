"""The feature store: the features of a folder of clips, with their provenance.

On disk::

    features/
      store.json          format and version
      journal/*.jsonl     one journal per writer: keys, clips and their outcomes
      shards/*.h5         immutable files of arrays

The first axis of every stored array is time (or another running index).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from . import durable
from .clips import Clip
from .errors import MixedKeysError, StoreError
from .journal import InvalidLine
from .keys import FeatureKey
from .ledger import Ledger
from .order import natural
from .reading import read_json
from .rows import Row
from .shards import ShardReader
from .writer import StoreWriter

FORMAT = "avemo feature store"
VERSION = 1
_CARD = json.dumps({"format": FORMAT, "version": VERSION})


class FeatureStore:
    """A folder of shards and journals, opened for reading; :meth:`writer` adds to it.

    Iterating yields the row of each clip, read on demand, in the order in which clips were first stored.

    Args:
        path: the store's folder.
        create: whether to create an empty store if there is none.

    Raises:
        StoreError: there is no store, it has another version, or it cannot be read or created.

    Example:
        >>> store = FeatureStore("features")                          # doctest: +SKIP
        >>> row = store.rows[0]                                       # doctest: +SKIP
        >>> store.read(row, "dlib/default", ["mean", "std"])["mean"]  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, create: bool = False) -> None:
        self.path = Path(path)
        self._check_format(create)
        self._reader = ShardReader(self.path / "shards")
        self._ledger = Ledger(self.path / "journal")
        self._rows: list[Row] | None = None
        self._counts: Mapping[str, Mapping[str, int]] | None = None
        self._senseless: list[InvalidLine] | None = None

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all open files."""
        self._reader.close()
        self._ledger.close()

    def __iter__(self) -> Iterator[Row]:
        yield from filter(None, map(self._ledger.row, self._ledger))

    def beside(self, keys: Collection[tuple[str, str]]) -> Iterator[Row]:
        """Yield the rows of all clips except ``keys``, whose records are not read."""
        yield from filter(None, map(self._ledger.row, (key for key in self._ledger if key not in keys)))

    @property
    def count(self) -> int:
        """Number of clips."""
        return sum(1 for _ in self)

    @property
    def rows(self) -> list[Row]:
        """All clips in natural order of split and id. Keeps them all in memory."""
        if self._rows is None:
            self._rows = sorted(self, key=lambda row: [natural(part) for part in row.clip.key])
        return list(self._rows)

    def row(self, clip: Clip) -> Row | None:
        """Return the row of ``clip``, or None if nothing is stored for it."""
        return self._ledger.row(clip.key)

    @property
    def keys(self) -> Mapping[str, FeatureKey]:
        """The keys of all streams, by digest."""
        return self._ledger.keys

    @property
    def streams(self) -> list[str]:
        """Names of all streams that any clip has."""
        return sorted(self.counts())

    @property
    def senseless(self) -> list[InvalidLine]:
        """Invalid lines of the journals, whose records are not in the store. Reads every line, once."""
        if self._senseless is None:
            self._senseless = self._ledger.senseless()
        return self._senseless

    def counts(self, rows: Iterable[Row] | None = None) -> Mapping[str, Mapping[str, int]]:
        """Return the number of ``rows`` (default: all clips) by stream and digest of its key."""
        if rows is None:
            if self._counts is None:
                self._counts = self.counts(self)
            return self._counts
        counts: dict[str, dict[str, int]] = defaultdict(Counter)
        for row in rows:
            for stream, entry in row.entries.items():
                counts[stream][entry.key.digest] += 1
        return counts

    def key(self, stream: str, rows: Iterable[Row] | None = None) -> FeatureKey:
        """Return the one key with which ``stream`` was extracted for ``rows`` (default: all clips).

        Raises:
            StoreError: no clip has the stream.
            MixedKeysError: clips were extracted with different settings.
        """
        counts = self.counts(rows).get(stream, {})
        if not counts:
            have = ", ".join(self.streams) or "nothing"
            raise StoreError(
                f"{self.path} holds no {stream!r}; it holds {have}. To add it, run `avemo-extract CLIPS "
                f"--store {self.path}` with the options for it"
            )
        first, *others = sorted(counts, key=lambda digest: -counts[digest])
        if others:
            differences = "; ".join(self.keys[first].differences(self.keys[others[0]]))
            raise MixedKeysError(
                f"{stream!r} was extracted with different settings: {counts[first]} clips one way and "
                f"{counts[others[0]]} another ({differences}). Values of two kinds cannot be trained on "
                "together: run avemo-extract over all clips with one choice of settings."
            )
        return self.keys[first]

    def read(self, row: Row, stream: str, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the arrays ``[T, ...]`` of one clip's stream by name: all, or those in ``names``.

        Raises:
            StoreError: the clip has no such stream or array, or the shard is damaged.
        """
        if not row.has(stream):
            raise StoreError(
                f"clip {row.clip} has no {stream!r}; it has {', '.join(row.entries) or 'nothing'}"
            )
        arrays = row.entries[stream].arrays
        unknown = [name for name in names or () if name not in arrays]
        if unknown:
            raise StoreError(
                f"{stream!r} of clip {row.clip} holds {', '.join(arrays)}, not {', '.join(unknown)}"
            )
        return {name: self._reader.read(arrays[name]) for name in names or arrays}

    def nbytes(self, row: Row, stream: str) -> int:
        """Return the size in bytes of the arrays of one clip's stream, without reading them.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        return sum(map(self._reader.nbytes, row.entries[stream].arrays.values()))

    def writer(self, **limits: float) -> StoreWriter:
        """Return a writer with shards and a journal of its own; use it as a context manager."""
        return StoreWriter(self.path, **limits)

    def refresh(self) -> None:
        """Read what has been added to the journals since."""
        self._ledger.refresh()
        self._rows, self._counts, self._senseless = None, None, None

    def _check_format(self, create: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, but a store is a folder; name another one")
        card = self.path / "store.json"
        if create and not card.exists():
            self._create(card)
        try:
            found = read_json(card)
        except FileNotFoundError:
            raise StoreError(
                f"{self.path} is not a feature store (it has no store.json); `avemo-extract CLIPS --store "
                f"{self.path}` makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{card} cannot be read: {error}; write {_CARD} into it, as in every store"
            ) from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise StoreError(f"{card} does not describe a feature store")
        if found.get("version") != VERSION:
            raise StoreError(
                f"{self.path} is a store of version {found.get('version')!r:.40}, and this avemo reads "
                f"version {VERSION}; use the avemo that wrote it, or extract into a new folder"
            )

    def _create(self, card: Path) -> None:
        """Create an empty store.

        The store exists once ``store.json`` is in place, so concurrent or killed attempts are harmless.
        """
        folders = [self.path / name for name in ("journal", "shards")]
        found = [path for folder in (self.path, *folders) for path in folder.glob("*")]
        others = [path for path in found if path not in folders and not path.name.startswith(".")]
        if others and not card.exists():
            raise StoreError(f"{self.path} is a folder with other files in it; name an empty or a new folder")
        try:
            for folder in folders:
                durable.make_folder(folder)
            with durable.replacing(card) as temporary:
                temporary.write_text(_CARD + "\n")
        except OSError as error:
            raise StoreError(
                f"cannot make a store at {self.path}: {error}; name a folder that can be written"
            ) from error
