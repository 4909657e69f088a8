"""Every error of docs/errors.md is provoked here, and is the line that the page shows."""

from __future__ import annotations

import ast
import importlib
import json
import pickle
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.training.runs import Run
from avemo.fusion.training.training import Trained
from avemo.pipelines.cli.extract import main as avemo_extract
from avemo.pipelines.cli.fuse import main as avemo_fuse
from avemo.pipelines.cli.main import main as avemo

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
PROGRAMS = {"avemo": avemo, "avemo-extract": avemo_extract, "avemo-fuse": avemo_fuse}
FIRST_RELEASE = ROOT / "tests" / "data" / "first-release"


def shown() -> Iterator[tuple[str, str]]:
    """Command and line, of each that the page shows."""
    for block in re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        yield from re.findall(r"^\$ (.+)\n(.+)$", block, re.MULTILINE)


def error_of(command: str) -> str:
    """What a command says when it fails."""
    program, *arguments = shlex.split(command)
    result = CliRunner().invoke(PROGRAMS[program], arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


def make_bad_inputs(folder: Path, make_clip: Callable[..., Path]) -> None:
    """The files that the page's commands name."""
    (folder / "clips").mkdir()
    make_clip(folder / "clips" / "a.mp4", frames=3)
    (folder / "notes.txt").write_text("notes\n")
    key = FeatureKey("net/default", {"backbone": "net"})
    with FeatureStore(folder / "features", create=True) as store, store.writer() as writer:
        values = np.zeros((4, 3), np.float32)
        writer.add(
            Clip("a", "train", label="Happy"), None, {key.stream: Outcome(key, arrays={"mean": values})}
        )
    shutil.copytree(folder / "features", folder / "newer")
    (folder / "newer" / "store.json").write_text('{"format": "avemo feature store", "version": 7}')
    shutil.copytree(folder / "features", folder / "torn")
    (folder / "torn" / "store.json").write_text('{"format": "avemo fea')
    _tables(folder)
    _settings(folder)
    _weights(folder)
    _runs(folder)


def _tables(folder: Path) -> None:
    tables = {
        "no-path.csv": b"file,label\na.mp4,Happy\n",
        "latin-1.csv": "path,label\nclips/a.mp4,Fr\u00f6hlich\n".encode("latin-1"),
        "gone.csv": b"path,label\nclips/b.mp4,Happy\n",
        "labels.json": b'{"an": "Angry", "an": "Sad"}',
        "scores.csv": b"clip,Angry,Happy\na,0.25,0.75\n",
        "no-clip.csv": b"id,Angry,Happy\na,0.25,0.75\n",
        "comma.csv": b'clip,Angry,Happy\na,"0,25","0,75"\n',
        "logits.csv": b"clip,Angry,Happy\na,2.5,-1\n",
        "percent.csv": b"clip,Angry,Happy\na,25,75\n",
        "twice.csv": b"clip,Angry,Happy\na,0.25,0.75\na,0.25,0.75\n",
        "truth.csv": b"clip,truth,Angry,Happy\na,Joy,0.25,0.75\n",
        "others.csv": b"clip,Angry,Joy\na,0.25,0.75\n",
        "empty.csv": b"clip,Angry,Happy\n",
        "negative.csv": b"class,weight\nAngry,-1\nHappy,2\n",
    }
    for name, content in tables.items():
        (folder / name).write_bytes(content)


def _settings(folder: Path) -> None:
    (folder / "broken.toml").write_text("epochs = = 3\n")
    (folder / "typo.toml").write_text("epoch = 3\n")
    (folder / "text.toml").write_text('epochs = "many"\n')
    (folder / "paper.toml").write_text('title = "a paper"\nruns = "all"\n')


def _weights(folder: Path) -> None:
    state = {"weight": torch.zeros(1 << 10)}
    torch.save(state, folder / "whole.pth")
    (folder / "cut.pth").write_bytes((folder / "whole.pth").read_bytes()[:2000])
    (folder / "page.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    (folder / "pickled.pth").write_bytes(pickle.dumps({"weight": [1, 2]}))
    torch.save(torch.nn.Linear(2, 2), folder / "model.pth")
    with (
        zipfile.ZipFile(folder / "whole.pth") as whole,
        zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))


def _runs(folder: Path) -> None:
    for name in ("run", "newer-run", "cut-run", "half-run", "damaged-run"):
        shutil.copytree(FIRST_RELEASE / "run-fbp", folder / name)
    shutil.copytree(FIRST_RELEASE / "features", folder / "old-features")
    card = json.loads((folder / "newer-run" / "run.json").read_text())
    (folder / "newer-run" / "run.json").write_text(json.dumps({**card, "version": 7}))
    (folder / "cut-run" / "run.json").write_text('{"format": "avemo run"')
    (folder / "half-run" / "member-000.safetensors").unlink()
    run, member = Run(folder / "damaged-run"), folder / "damaged-run" / "member-000.safetensors"
    run.save(0, Trained(run.load(0), tuple(run.history(0)), np.empty(0)))
    member.write_bytes(member.read_bytes()[:-1] + b"?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    made = tmp_path_factory.mktemp("bad")
    make_bad_inputs(made, make_clip)
    return made


@pytest.mark.slow
def test_the_page_shows_the_lines_that_users_see(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AVEMO_WEIGHTS", "weights")
    cases = list(shown())
    assert len({command for command, _ in cases}) >= 25
    assert {command: error_of(command) for command, _ in cases} == dict(cases)


def test_the_page_lists_each_error_type_with_its_module() -> None:
    """All but the private ones, and those that only pass between the modules of one package."""
    internal = {"InputError", "Interrupted", "ProcessDied", "ProcessHung", "ProcessTooLarge", "Absent"}
    table = PAGE.read_text(encoding="utf-8").partition("## Error types")[2]
    listed, module = set(), ""
    for name, of in re.findall(r"^\| `(\w+)` \| (?:`([\w.]+)`)? ?\|", table, re.MULTILINE):
        module = of or module
        assert issubclass(getattr(importlib.import_module(module), name), Exception)
        listed.add((name, module))
    errors = {"Exception", "ValueError", "KeyboardInterrupt", "ClickException"}
    found = set()
    for _ in range(4):  # errors of errors
        for file in sorted(ROOT.glob("*/**/*.py")):
            where = file.relative_to(ROOT)
            if where.parts[0] in ("cache", "extract", "fusion", "pretrain", "pipelines"):
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                    bases = getattr(node, "bases", ())
                    if {getattr(base, "attr", getattr(base, "id", "")) for base in bases} & errors:
                        errors.add(node.name)
                        found.add((node.name, ".".join(("avemo", *where.with_suffix("").parts))))
    public = {(name, of) for name, of in found if not name.startswith("_") and name not in internal}
    assert public == listed


def test_debug_shows_where_an_error_came_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(avemo, ["store", "status", "torn", "--debug"])
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.strip().splitlines()[-1] == error_of("avemo store status torn")


def test_a_message_reaches_no_terminal_as_a_command_and_ends(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(f"clip,\x1b[2J{'x' * 9000},b\na,1,0\n,1,0\n")
    result = CliRunner().invoke(avemo_fuse, ["ensemble", str(tmp_path / "scores.csv")])
    assert result.exit_code == 2
    assert "\x1b" not in result.output and len(result.output) < 2500
