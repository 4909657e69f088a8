"""Opening a store only finds its clips; records are read when a clip is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avemo.cache import journal
from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

KEY = FeatureKey("net/default", {"backbone": "net"})


def add(path: Path, *names: str) -> Path:
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for name in names:
            writer.add(Clip(name, "train"), None, {KEY.stream: Outcome(KEY, "absent", "none")})
        return path / "journal" / f"{writer.name}.jsonl"


def stored(store: FeatureStore) -> list[str]:
    return [row.clip.id for row in store.rows]


def test_opening_reads_no_record_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path / "s", *map(str, range(50)))
    parsed: list[Any] = []
    parse = journal.parse
    monkeypatch.setattr(journal, "parse", lambda *line: parsed.append(parse(*line)) or parsed[-1])
    with FeatureStore(tmp_path / "s") as store:
        assert {record["kind"] for record in parsed} == {"writer", "key"}
        parsed.clear()
        assert store.row(Clip("7", "train")) is not None
        assert [record["clip"]["id"] for record in parsed] == ["7"]
        assert stored(store) == list(map(str, range(50)))


def test_a_refresh_reads_on_where_it_stopped(tmp_path: Path) -> None:
    path = add(tmp_path / "s", "a", "b")
    whole = path.read_bytes()
    half = len(whole) - 20
    path.write_bytes(whole[:half])
    with FeatureStore(tmp_path / "s") as store:
        assert stored(store) == ["a"]  # the line of b is being written
        with path.open("ab") as file:
            file.write(whole[half:])
        assert stored(store) == ["a"]
        store.refresh()
        assert stored(store) == ["a", "b"]
        add(tmp_path / "s", "c", "b")
        store.refresh()
        assert stored(store) == ["a", "b", "c"]
        assert store.counts() == {KEY.stream: {KEY.digest: 3}}


def test_a_last_line_without_its_end_counts_once(tmp_path: Path) -> None:
    path = add(tmp_path / "s", "a", "b")
    path.write_bytes(path.read_bytes()[:-1])
    with FeatureStore(tmp_path / "s") as store:
        assert stored(store) == ["a", "b"]
        with path.open("ab") as file:
            file.write(b"\n")
        store.refresh()
        assert stored(store) == ["a", "b"]
        with store.writer() as writer:
            writer.remove(Clip("b", "train"))
        store.refresh()
        assert stored(store) == ["a"]


def test_a_record_of_two_clips_is_of_none(tmp_path: Path) -> None:
    """A stranger's line may name one clip at its beginning, and another one, once more, at its end."""
    path = add(tmp_path / "s", "a", "b")
    line = '{"time":1,"kind":"remove","split":"train","id":"a","id":"b"}\n'
    path.write_text(path.read_text() + line)
    with FeatureStore(tmp_path / "s") as store:
        assert stored(store) == ["a", "b"]


def test_names_that_json_escapes_are_found(tmp_path: Path) -> None:
    names = ['a"b', "back\\slash", "\udc80", "é", "new\nline", "1" * 5000]
    path = add(tmp_path / "s", *names)
    with FeatureStore(tmp_path / "s") as store:
        assert sorted(stored(store)) == sorted(names)
        assert all(store.row(Clip(name, "train")) for name in names)
    records = [json.loads(line) for line in path.read_text(errors="surrogatepass").splitlines()]
    for record in records:
        del record["sum"]
    path.write_text("".join(json.dumps(dict(reversed(record.items()))) + "\n" for record in records))
    with FeatureStore(tmp_path / "s") as store:  # fields in another order
        assert sorted(stored(store)) == sorted(names)


def test_a_journal_that_is_gone_takes_its_clips_along(tmp_path: Path) -> None:
    path = add(tmp_path / "s", "a")
    add(tmp_path / "s", "b")
    with FeatureStore(tmp_path / "s") as store:
        path.unlink()
        store.refresh()
        assert stored(store) == ["b"]


def test_damage_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add(tmp_path / "s", "a")
    with path.open("ab") as file:
        file.write(b"{}\n")
    with FeatureStore(tmp_path / "s") as store:
        looks: list[int] = []
        look = store._ledger.senseless
        monkeypatch.setattr(store._ledger, "senseless", lambda: looks.append(1) or look())
        assert len(store.senseless) == len(store.senseless) == len(looks) == 1
        path.write_bytes(path.read_bytes() + b"[]\n")
        store.refresh()
        assert len(store.senseless) == 2


def test_clips_that_were_read_are_not_read_again_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run asks for all of its clips, then for damage: that is one pass, with the lines of both."""
    path = add(tmp_path / "s", "a", "b", "c")
    lines = path.read_bytes().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if b'"id":"' in line]
    for number in places[::2]:  # the records of a and of c
        lines[number] = lines[number].replace(b'"kind":"clip"', b'"kind":"cliq"')
    path.write_bytes(b"".join([*lines, b"{}\n", b"torn"]))
    with FeatureStore(tmp_path / "s") as store:
        whole = [(line.line, line.why) for line in store.senseless]
    assert whole == [
        *((number + 1, "its checksum differs") for number in places[::2]),
        (len(lines) + 1, "its checksum is damaged"),
    ]
    with FeatureStore(tmp_path / "s") as store:
        assert [row.clip.id for row in store] == ["b"]
        monkeypatch.setattr(store._ledger, "row", lambda key: pytest.fail("it was read"))
        assert [(line.line, line.why) for line in store.senseless] == whole
