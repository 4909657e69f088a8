"""No command overwrites a file without --overwrite, and none works long before it says so."""

from __future__ import annotations

from pathlib import Path

import click
import h5py
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.pipelines.cli.framework import InputError
from avemo.pipelines.cli.main import main
from avemo.pipelines.cli.outputs import refuse_existing

FIRST = Path(__file__).parents[1] / "data" / "first-release"
MINE = "my own work"


def avemo(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def assert_kept(path: Path, result: Result) -> None:
    assert result.exit_code == 2, result.output
    assert f"{path} already exists; write elsewhere, or replace it with --overwrite" in result.stderr
    assert path.read_text() == MINE


def mine(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINE)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with FeatureStore(tmp_path / "features", create=True).writer() as writer:
        writer.add(Clip("1", "train", label="Happy"), None, {})
    return tmp_path / "features"


def test_export(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one argument, the default store goes there: a store's name misspelt is no file to write."""
    monkeypatch.chdir(tmp_path)
    assert_kept(mine(tmp_path / "thesis.h5"), avemo("store", "export", tmp_path / "thesis.h5"))
    for name, hint in (("thesis", "ending in .h5"), ("features", "avemo store export features FILE.h5")):
        result = avemo("store", "export", name)
        assert (result.exit_code, hint in result.stderr) == (2, True)
    assert not (tmp_path / "thesis").exists()
    (tmp_path / "folder.h5").mkdir()
    assert "is a folder" in avemo("store", "export", "folder.h5").stderr
    assert avemo("store", "export", "thesis.h5", "--overwrite").exit_code == 0
    assert list(h5py.File(tmp_path / "thesis.h5")["clips"]) == ["train"]


def test_predict(tmp_path: Path) -> None:
    words = ("fuse", "predict", FIRST / "run-fbp", FIRST / "features", "--device", "cpu", "--out")
    scores = mine(tmp_path / "scores.csv")
    assert_kept(scores, avemo(*words, scores))
    assert avemo(*words, scores, "--overwrite").exit_code == 0
    assert scores.read_text().startswith("clip,")


@pytest.mark.parametrize("name", ["scores.csv", "submission.csv", "ensemble.json", "Team.zip"])
def test_ensemble(name: str, tmp_path: Path) -> None:
    words = ("fuse", "ensemble", FIRST / "scores-fbp.csv", "--out", tmp_path / "out", "--zip", "Team")
    path = mine(tmp_path / "out" / name)
    assert_kept(path, avemo(*words))
    assert [file.name for file in path.parent.iterdir()] == [name]
    assert avemo(*words, "--overwrite").exit_code == 0
    assert path.read_bytes() != MINE.encode()


def test_report(tmp_path: Path) -> None:
    page = mine(tmp_path / "report.html")
    assert_kept(page, avemo("fuse", "report", FIRST / "run-fbp", "--out", page))


def test_a_recipe(tmp_path: Path) -> None:
    for split, label in (("Train_AFEW", "Happy"), ("Train_AFEW", "Sad"), ("Val_AFEW", "Happy")):
        mine(tmp_path / f"afew/{split}/{label}/000000001{len(label)}.avi")
    page = mine(tmp_path / "out/results.md")
    assert_kept(page, avemo("emotiw2019", tmp_path / "afew", "--out", page.parent))
    assert_kept(page, avemo("recipe", "run", "zhou2021-family", FIRST / "features", "--out", page.parent))
    assert [file.name for file in page.parent.iterdir()] == ["results.md"]


def test_what_a_command_made_itself_is_made_anew(tmp_path: Path) -> None:
    page = mine(tmp_path / "results.md")
    with pytest.raises(InputError):
        refuse_existing([page], False, unless=tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    refuse_existing([page], False, unless=tmp_path / "runs")


WRITES = ("--out", "--overlay", "--timeline", "FILE.h5")


def commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = isinstance(command, click.Group)
        found += commands(command, f"{prefix}{name} ") if below else [(f"{prefix}{name}", command)]
    return found


def test_every_command_that_writes_a_file_has_the_option() -> None:
    """But for the preview, which takes no folder but its own, and what is added to or gone on with."""
    lacking = []
    for name, command in commands(main):
        names = [word for parameter in command.params for word in (*parameter.opts, parameter.metavar or "")]
        if any(writes in word for word in names for writes in WRITES) and "--overwrite" not in names:
            lacking.append(name)
    assert lacking == ["preview"]
