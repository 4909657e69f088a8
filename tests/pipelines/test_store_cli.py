"""``avemo store``: what it says of a store, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.pipelines.cli.main import main
from avemo.pipelines.store_status import poll

FACES = FeatureKey("faces", {"detector": "dlib"})
NET = FeatureKey("net/default", {"backbone": "net"})
SOUND = FeatureKey("spectrogram", {"window": 640})


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["store", *map(str, arguments)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Six training clips, one of whose files is broken, and two silent, unlabelled ones for testing."""
    path = tmp_path / "features"
    with FeatureStore(path, create=True).writer() as writer:
        for i in range(6):
            clip = Clip(f"c{i}", "train", label="Happy" if i < 4 else "Sad")
            faces = Outcome(FACES, info={"frames": 10, "faces": i}, arrays={"times": np.zeros((10,))})
            net = Outcome(NET, arrays={"mean": np.full((10, 4), i, np.float32)})
            if i == 5:
                faces = Outcome(FACES, "failed", "moov atom not found; get the file again")
                net = Outcome(NET, "failed", "moov atom not found; get the file again")
            writer.add(clip, None, {"faces": faces, "net/default": net})
        for i in range(2):
            writer.add(Clip(f"t{i}", "test"), None, {"spectrogram": Outcome(SOUND, "absent", "no sound")})
    return path


def test_status_as_json(store: Path) -> None:
    result = run("status", store, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["clips"] == 8
    assert found["splits"]["train"] == {
        "clips": 6,
        "labels": {"Happy": 4, "Sad": 2},
        "unlabelled": 0,
        "frames": 50,
        "frames_with_face": 0 + 1 + 2 + 3 + 4,
        "clips_without_face": 1,
    }
    assert found["splits"]["test"]["unlabelled"] == 2
    assert found["streams"] == [
        {"stream": "faces", "key": FACES.digest, "ok": 5, "absent": 0, "failed": 1, "bytes": 5 * 10 * 8},
        {"stream": "net/default", "key": NET.digest, "ok": 5, "absent": 0, "failed": 1, "bytes": 5 * 40 * 4},
        {"stream": "spectrogram", "key": SOUND.digest, "ok": 0, "absent": 2, "failed": 0, "bytes": 0},
    ]
    assert [(entry["clip"], entry["stream"]) for entry in found["failures"]] == [
        ("c5", "faces"),
        ("c5", "net/default"),
    ]


def test_watching_ends_when_the_store_holds_so_many(store: Path) -> None:
    """Two clips come from another writer while it is watched."""
    with FeatureStore(store) as opened:
        looks = poll(opened, 10)
        assert next(looks) == (8, 1)
        with FeatureStore(store).writer() as writer:
            for name in ("late", "later"):
                writer.add(Clip(name, "train"), None, {"faces": Outcome(FACES, "absent", "no face")})
        assert list(looks) == [(10, 1)]
    assert run("status", store, "--watch", "10").exit_code == 0


def test_status_as_tables(store: Path) -> None:
    lines = run("status", store).stdout.splitlines()
    cells = [line.split() for line in lines]
    assert lines[0] == f"{store}: 8 clips"
    assert ["train", "6", "50", "20.0%", "1"] in cells
    assert ["test", "2", "0", "-", "0"] in cells
    assert ["Happy", "0", "4"] in cells
    assert ["(no", "label)", "2", "0"] in cells
    assert ["faces", FACES.digest, "5", "0", "1", "0.0", "MB"] in cells
    assert "  train/c5, faces: moov atom not found; get the file again" in lines


def test_status_shows_twenty_failures(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        for i in range(23):
            writer.add(Clip(str(i), "train"), None, {"faces": Outcome(FACES, "failed", "broken")})
    lines = run("status", tmp_path / "s").stdout.splitlines()
    assert sum(line.endswith("faces: broken") for line in lines) == 20
    assert lines[-1] == "  and 3 more (--json lists all)"


def test_no_name_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\x9b2J\u202e\nfine"
    key = FeatureKey("net/default", {})
    with FeatureStore(tmp_path / hostile, create=True) as store, store.writer() as writer:
        clip = Clip(hostile, f"train{hostile}", f"/{hostile}", hostile, hostile)
        writer.add(clip, None, {key.stream: Outcome(key, "failed", hostile)})
    text = run("status", tmp_path / hostile).output
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*text}
    assert (
        "\\u001b]0;title\\u0007" in text and "2J\\u202e\\nfine" in text
    )  # in a cell of a table, a newline too
    told = json.loads(run("status", tmp_path / hostile, "--json").stdout)
    assert told["failures"][0]["reason"] == hostile
    assert "\x9b" not in run("status", tmp_path / hostile, "--json").stdout


def test_an_empty_store_has_a_status(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "s", create=True)
    result = run("status", tmp_path / "s")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 's'}: 0 clips\n")


def test_verify_finds_damage_and_drops_it(store: Path) -> None:
    assert run("verify", store).exit_code == 0
    shard = next((store / "shards").iterdir())
    with h5py.File(shard, "r+") as file:
        file[f"{NET.digest}/mean"][-1] += 1
    result = run("verify", store)
    assert result.exit_code == 1
    assert "train/c4, net/default: " in result.stderr
    assert "1 damaged stream; --repair" in result.stdout
    assert run("verify", store, "--repair").exit_code == 1
    assert run("verify", store).exit_code == 0
    assert json.loads(run("status", store, "--json").stdout)["streams"][1]["ok"] == 4


def test_a_lost_shard_is_told_by_verify_and_borne_by_status(store: Path) -> None:
    next((store / "shards").iterdir()).unlink()
    assert json.loads(run("status", store, "--json").stdout)["streams"][0]["bytes"] == 0
    assert run("verify", store).exit_code == 1


def test_export(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("export", store, tmp_path / "all.h5")
    assert (result.exit_code, result.stdout) == (0, f"wrote {tmp_path / 'all.h5'}: 8 clips\n")
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["clips/train/c3/net/default/mean"][0, 0] == 3
    monkeypatch.chdir(tmp_path)
    assert run("export", "mine.h5").exit_code == 0  # of the default store
    assert (tmp_path / "mine.h5").exists()
    assert run("export", "a", "b", "c").exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["status"], ["verify"], ["export", "x.h5"], ["merge", "all", "features"]]
)
def test_no_store_is_wrong_input(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert "features is not a feature store" in result.stderr
    assert not list(tmp_path.iterdir())


def test_status_tells_what_was_imported(store: Path, tmp_path: Path) -> None:
    (tmp_path / "fgnet").mkdir()
    for i in range(3):
        np.save(tmp_path / f"fgnet/c{i}.npy", np.full((10, 6), np.nan if i == 2 else i, np.float32))
    command = ("import", tmp_path / "fgnet", "--store", store, "--fps", 12.5)
    assert run(*command, "--name", "fgnet", "--note", "FG-Net, fc7").exit_code == 0
    assert run(*command, "--name", "other").exit_code == 0
    streams = {
        found["stream"]: found for found in json.loads(run("status", store, "--json").stdout)["streams"]
    }
    made = streams["fgnet/none"]
    assert (made["ok"], made["absent"], made["bytes"]) == (2, 1, 2 * (10 * 6 * 4 + 10 * 8))
    assert made["imported"] == {"dimensions": 6, "fps": 12.5, "note": "FG-Net, fc7"}
    assert "imported" not in streams["net/default"]
    lines = run("status", store).stdout.splitlines()
    assert ["fgnet/none", made["key"], "2", "1", "0", "0.0", "MB"] in [line.split() for line in lines]
    place = lines.index("imported:")
    assert lines[place + 1] == "  fgnet/none: 6 values a vector, 12.5 a second; FG-Net, fc7"
    assert lines[place + 2] == "  other/none: 6 values a vector, 12.5 a second"
