"""``--config`` and ``--dump-config``: settings of a command in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from avemo.pipelines.cli.framework import InputError
from avemo.pipelines.cli.main import main

from .test_outputs import commands

COMMANDS = dict(commands(main))
ROUND = {
    "extract": "clips --tta none --tta meanstd2 --max-frames 5 --part 3/16 --segments --store C:\\x\\\u007f",
    "fuse train":
        "--preset zhou2021 --fusion am-fbp --lr 1e-05 --set lrn=no --set bias=off --set trunk-seconds=2",
    "fuse cv": "--folds kfold:3 --allow-same-subjects --session-pattern Ses\\d\"é --grid lr=1e-4|1e-3",
    "pretrain face": "--data p/ --labels a=b,c=d --without x --ema 0.9 --augment flip=false,blur=0",
    "pretrain audio": "--data . --augment gain=0,frames=99",
    "pretrain segments": "--without Contempt --half",
}  # fmt: skip


def parsed(name: str, *words: str) -> dict[str, Any]:
    return COMMANDS[name].make_context(name, list(words)).params


def run(name: str, *words: str) -> Any:
    return CliRunner().invoke(main, [*name.split(), *words])


@pytest.mark.parametrize("name", ROUND)
def test_what_is_dumped_gives_the_same_settings(name: str, tmp_path: Path) -> None:
    words = ROUND[name].split()
    arguments = [word for word in words if word == "clips"]
    result = run(name, *words, "--dump-config")
    assert result.exit_code == 0, result.output
    file = tmp_path / "settings.toml"
    file.write_text(result.stdout, encoding="utf-8")
    assert parsed(name, *arguments, "--config", str(file)) == parsed(name, *words)
    assert run(name, *arguments, "--config", str(file), "--dump-config").stdout == result.stdout


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('epochs = 3\nfusion = "concat"\n')
    read = parsed("fuse train", "--epochs", "7", "--config", str(file))
    assert (read["epochs"], read["fusion"], read["batch"]) == (7, "concat", 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epoch = 3", "train has no option 'epoch'; did you mean epochs?"),
        ("json = true", "no option 'json'"),
        ('epochs = "3"', 'epochs = "3": expected a whole number'),
        ("epochs = true", "epochs = true: expected a whole number"),
        ("lr = true", "lr = true: expected a number"),
        ("fusion = 3", "fusion = 3: expected a text in quotes"),
        ("choose-epoch = 1", "no option 'choose-epoch'"),
        ("stacked = 1", "stacked = 1: expected true or false"),
        ("set = 3", "set = 3: expected a table"),
        ("[set]\nsigned_sqrt = 1.5", "signed_sqrt = 1.5: expected true or false"),
        ("set.trunk = 3", "no head has a setting 'trunk'; did you mean trunks?"),
        ("epochs = 0", "epochs = 0: 0 is not in the range"),
        ("epochs = ", "is not TOML"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        parsed("fuse train", "--config", str(file))
    assert str(file) in refused.value.message and expected in refused.value.message
    assert "\n" not in refused.value.message


def test_a_list_is_expected_where_an_option_is_repeatable(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('backbone = "ir50@a.pth"')
    with pytest.raises(InputError, match="expected a list of texts"):
        parsed("extract", "clips", "--config", str(file))


def test_what_cannot_act_is_refused_in_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('fusion = "concat"\n[set]\ntrunks = 3\n')
    result = run("fuse train", "--config", str(file))
    assert result.exit_code == 2
    assert "--set trunks would do nothing" in result.output


def test_a_file_is_read_by_what_extracts_and_trains() -> None:
    with_file = {
        name
        for name, command in COMMANDS.items()
        if any(isinstance(each, click.Option) and "--config" in each.opts for each in command.params)
    }
    assert with_file == {*ROUND}
