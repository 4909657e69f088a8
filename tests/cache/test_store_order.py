"""Which of several outcomes counts: no clock decides, and a record that makes no sense costs only itself."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.pipelines.cli.main import main

KEY = FeatureKey("net/default", {"backbone": "net"})
CLIP = Clip("1", "train", label="Happy")
SOURCE = Source("a" * 64, 1, 1)


def made(value: float) -> dict[str, Outcome]:
    return {KEY.stream: Outcome(KEY, arrays={"mean": np.full((3, 2), value, np.float32)})}


def without(status: str, reason: str = "no such thing") -> dict[str, Outcome]:
    return {KEY.stream: Outcome(KEY, status, reason)}


def stored(path: Path) -> str | float:
    """What the store says of the clip's stream: its status, or the value of its array."""
    with FeatureStore(path) as store:
        assert store.senseless == []
        (row,) = store.rows
        if KEY.stream not in row.entries:
            return "nothing"
        entry = row.entries[KEY.stream]
        return float(store.read(row, KEY.stream)["mean"][0, 0]) if entry.status == "ok" else entry.status


def clock(monkeypatch: pytest.MonkeyPatch, *times: int) -> None:
    left = itertools.chain(times, itertools.repeat(times[-1]))
    monkeypatch.setattr(time, "time_ns", lambda: next(left))


def test_a_clock_that_steps_back_is_borne(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, *range(1000, 0, -100))
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        writer.add(CLIP, SOURCE, made(1))
        writer.add(CLIP, SOURCE, made(2))
    assert stored(tmp_path / "s") == 2


def test_a_clock_that_is_ahead_overrules_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    clock(monkeypatch, 10**19)
    with store.writer() as writer:
        writer.add(CLIP, SOURCE, without("failed"))
    clock(monkeypatch, 5)
    with store.writer() as writer:
        writer.add(CLIP, SOURCE, made(1))
    assert stored(tmp_path / "s") == 1
    with store.writer() as writer:
        writer.drop(CLIP, [KEY.stream])
    assert stored(tmp_path / "s") == "nothing"


@pytest.mark.parametrize("first", [0, 1])
def test_of_concurrent_outcomes_what_is_there_beats_what_failed(first: int, tmp_path: Path) -> None:
    """Both writers are open before either writes, as two jobs that do the same clip are."""
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as one, store.writer() as other:
        writers = (one, other)
        writers[first].add(CLIP, SOURCE, without("failed"))
        writers[first].flush()
        writers[1 - first].add(CLIP, SOURCE, made(7))
    assert stored(tmp_path / "s") == 7


def test_a_drop_takes_only_what_its_writer_knew(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as early, store.writer() as late:
        early.drop(CLIP, [KEY.stream])
        early.remove(CLIP)
        late.add(CLIP, SOURCE, made(3))
        late.flush()
    assert stored(tmp_path / "s") == 3


def test_all_readers_agree_on_concurrent_outcomes(tmp_path: Path) -> None:
    """Whatever the clocks say, and in whatever order the journals lie in the folder."""
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as one, store.writer() as two:
        one.add(CLIP, SOURCE, made(1))
        two.add(CLIP, SOURCE, made(2))
    chosen = stored(tmp_path / "s")
    for path in (tmp_path / "s/journal").iterdir():
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            del record["sum"]  # a line without one is read as it stands
            record["time"] = np.random.default_rng(len(records)).integers(1 << 60).item()
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert stored(tmp_path / "s") == chosen


def test_chains_of_writers_count_in_their_order(tmp_path: Path) -> None:
    """Of twenty writers, each opened when the one before was done, the last counts; names are random."""
    store = FeatureStore(tmp_path / "s", create=True)
    for number in range(20):
        with store.writer() as writer:
            for _ in range(number % 3 + 1):
                writer.add(CLIP, SOURCE, made(number))
        assert stored(tmp_path / "s") == number


def test_a_removed_clip_is_gone_and_may_come_back(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(CLIP, SOURCE, made(1))
    with store.writer() as writer:
        writer.remove(CLIP)
    store.refresh()
    assert store.rows == []
    with store.writer() as writer:
        writer.add(CLIP, SOURCE, {})
    assert stored(tmp_path / "s") == "nothing"


OLD_KEY = {"kind": "key", "digest": KEY.digest, "stream": KEY.stream, "settings": dict(KEY.settings)}


def old(at: Any, status: str, reason: str = "") -> dict[str, Any]:
    """A clip's record as it was before journals had beginnings."""
    entry = {"digest": KEY.digest, "status": status, "reason": reason, "info": {}, "arrays": {}}
    clip = {"id": "1", "split": "train", "path": "", "label": None, "subject": None, "session": None}
    return {"time": at, "kind": "clip", "clip": clip, "source": None, "streams": {KEY.stream: entry}}


def write(path: Path, *records: Any) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_journals_of_before_are_read_in_the_order_of_their_times(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "s", create=True)
    write(tmp_path / "s/journal/b.jsonl", {"time": 1, **OLD_KEY}, old(2, "failed"))
    write(tmp_path / "s/journal/a.jsonl", {"time": 3, **OLD_KEY}, old(4, "absent"))
    assert stored(tmp_path / "s") == "absent"
    write(tmp_path / "s/journal/b.jsonl", {"time": 9, **OLD_KEY}, old(5, "failed"))  # it stepped back
    assert stored(tmp_path / "s") == "failed"
    with FeatureStore(tmp_path / "s").writer() as writer:
        writer.add(CLIP, SOURCE, made(1))
    assert stored(tmp_path / "s") == 1


SENSELESS = [
    "no JSON",
    "[1, 2]",
    "{}",
    '{"kind": ["clip"]}',
    json.dumps({"kind": "clip", "clip": {"id": 5, "split": "train"}, "source": None, "streams": {}}),
    json.dumps({"kind": "clip", "clip": {"id": "x", "split": ["t"]}, "source": None, "streams": {}}),
    json.dumps({"kind": "clip", "clip": {"id": "x", "split": "t", "new": 1}, "source": None, "streams": {}}),
    json.dumps({"kind": "clip", "clip": {"id": "x", "split": "t"}, "source": None, "streams": []}),
    json.dumps({"kind": "clip", "clip": {"id": "x", "split": "t"}, "source": {"sha256": 1}, "streams": {}}),
    json.dumps({**old(1, "ok"), "streams": {"a": {"digest": "unknown"}}}),
    json.dumps(old(1, "perhaps")),
    json.dumps({"kind": "key", "digest": "0", "stream": 3, "settings": {}}),
    json.dumps({"kind": "key", "digest": "0", "stream": "x", "settings": 3}),
    json.dumps({"kind": "drop", "split": "train", "id": ["x"], "streams": ["a"]}),
    json.dumps({"kind": "remove", "split": "train"}),
    json.dumps({"kind": "writer", "seen": "all"}),
    "[" * 100_000,
    '{"kind": "clip", "clip": "\\ud8',
]


@pytest.mark.parametrize("line", SENSELESS)
def test_a_senseless_line_costs_itself_alone(line: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with FeatureStore(path, create=True).writer() as writer:
        writer.add(CLIP, SOURCE, made(1))
        writer.flush()
        (journal,) = (path / "journal").iterdir()
        with journal.open("a") as file:
            file.write(line + "\n")
        writer.add(Clip("2", "train"), SOURCE, made(2))
    with FeatureStore(path) as store:
        assert [row.has(KEY.stream) for row in store.rows] == [True, True]
        (found,) = store.senseless
    assert (found.journal, found.line) == (journal.name, 4)
    verify = ["store", "verify", str(path)]
    result = CliRunner().invoke(main, verify)
    assert result.exit_code == 1
    assert f"{journal.name}, line 4 is invalid" in result.stderr
    assert "1 invalid line" in result.stdout
    report = json.loads(CliRunner().invoke(main, [*verify, "--json"]).stdout)
    assert (report["whole"], report["clips"], report["damaged"]) == (False, 2, [])
    assert [(one["journal"], one["line"]) for one in report["senseless"]] == [(journal.name, 4)]
    assert "--repair skips it" in CliRunner().invoke(main, ["store", "status", str(path)]).stderr
    assert CliRunner().invoke(main, [*verify, "--repair"]).exit_code == 1
    result = CliRunner().invoke(main, verify)
    assert (result.exit_code, result.stderr) == (0, "")


def test_file_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    """POSIX names are bytes; Python reads others than UTF-8 as lone surrogates."""
    clip = Clip("1", "train", path="/clips/caf\udce9.avi")
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        writer.add(clip, SOURCE, {})
    assert FeatureStore(tmp_path / "s").rows[0].clip == clip


def test_a_changed_letter_of_a_journal_is_found(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        writer.add(replace(CLIP, label="Happy"), SOURCE, made(1))
    (path,) = (tmp_path / "s/journal").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"label":"Happy"', b'"label":"Harpy"'))

    store = FeatureStore(tmp_path / "s")

    assert store.rows == []
    assert [line.why for line in store.senseless] == ["its checksum differs"]


def test_the_clips_beside_others_are_found_without_reading_those(tmp_path: Path) -> None:
    clips = [Clip(name, "train") for name in "abc"]
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        for clip in clips:
            writer.add(clip, SOURCE, made(1))
        writer.remove(clips[2])
    with FeatureStore(tmp_path / "s") as store:
        assert [row.clip for row in store.beside({clips[0].key})] == [clips[1]]
        assert [row.clip for row in store.beside(set())] == clips[:2]
