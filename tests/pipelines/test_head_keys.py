"""``avemo-fuse heads`` and ``--set KEY=VALUE``: settings of heads, read from their declarations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from avemo.fusion.errors import FusionError
from avemo.fusion.heads.registry import HEADS, acting, complete, settings_for
from avemo.fusion.heads.settings import KEYS, HeadSettings, read_keys
from avemo.pipelines.cli.fuse import main

from .test_options import completed

OURS = [name for name, head in HEADS.items() if head.__module__.startswith("avemo.")]


def fuse(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_all_heads_are_listed() -> None:
    text = fuse("heads").output
    assert all(any(line.split()[0] == name for line in text.splitlines()) for name in OURS)
    assert "zhou2021 eq. 12-14" in text and ":class:" not in text


@pytest.mark.parametrize("name", OURS)
def test_a_head_is_explained_with_the_keys_that_act_in_it(name: str) -> None:
    told = json.loads(fuse("heads", name, "--json").stdout)["keys"]
    plain = settings_for(name)
    able = acting(plain if name != "m-fbp" else replace(plain, whole=True))
    assert {key["name"] for key in told} == {key.name for key in KEYS.values() if key.of[0] in able}
    text = fuse("heads", name).output
    for key in told:
        assert f"{key['name']}  [" in text and key["means"] in text and key["source"] in text


def test_the_defaults_are_those_of_the_head() -> None:
    def default(head: str, key: str) -> str:
        told = json.loads(fuse("heads", head, "--json").stdout)["keys"]
        return str(next(each["default"] for each in told if each["name"] == key))

    assert default("fbp", "lambda_audio") == "1.0" and default("g-fbp", "lambda_audio") == "0.3"
    assert default("am-fbp", "trunks") == "6" and default("decision", "decision_weight") == "0.5"
    assert default("ag-fbp", "ag_norm") == "false" and default("segments", "vote") == "majority"


def test_a_head_that_is_not_there_is_told() -> None:
    result = fuse("heads", "sum")
    assert result.exit_code == 2 and "there is no fusion 'sum'; there are fbp" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trunks", "'trunks': expected KEY=VALUE"),
        ("trunk=3", "no head has a setting 'trunk'; did you mean trunks?"),
        ("xyz=3", "no head has a setting 'xyz'; there are hidden, "),
        ("trunks=3.5", "trunks = 3.5: expected a whole number from 1"),
        ("trunks=0", "expected a whole number from 1"),
        ("trunks=many", "trunks = many: expected a whole number from 1"),
        ("trunk_seconds=0", "expected a number above 0"),
        ("lambda_audio=nan", "expected a number from 0"),
        ("lambda_audio=inf", "expected a number from 0"),
        ("hidden=1e999", "expected a whole number from 1"),
        ("decision_weight=1.5", "expected a number from 0 to 1"),
        ("attention_dropout=1", "expected a number from 0 to below 1"),
        ("ag_norm=maybe", "expected true or false"),
        ("vote=loud", "vote = loud: expected majority or mean"),
        ("vote=", "expected majority or mean"),
    ],
)
def test_what_is_no_setting_is_refused(text: str, expected: str) -> None:
    with pytest.raises(FusionError) as refused:
        read_keys([text])
    assert expected in str(refused.value) and "\n" not in str(refused.value)
    result = fuse("train", "--fusion", "am-fbp", "--set", text)
    assert result.exit_code == 2 and "Traceback" not in result.output and "--set" in result.output


def test_every_key_reaches_a_field_of_a_head() -> None:
    texts = {int: "7", float: "0.5", bool: "true", str: "mean"}
    for key in KEYS.values():
        value = read_keys([f"{key.name.replace('_', '-')}={texts[key.kind]}"])[key.name]
        assert type(value) is key.kind
        if key.name != "lrn":  # which is of an encoder
            found = HeadSettings().with_keys({key.name: value})
            for name in key.of:
                found = getattr(found, name)
            assert found == value
    assert complete(settings_for("m-fbp", trunks=HeadSettings().with_keys({"trunks": 3}).trunks)).trunks


def test_the_command_line_adds_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('fusion = "am-fbp"\n[set]\ntrunks = 3\nag_norm = true\n')
    told = fuse("train", "--config", str(file), "--set", "trunks=4", "--dump-config").stdout
    assert "\nset.trunks = 4\n" in told and "\nset.ag_norm = true\n" in told


def test_the_shell_completes_keys_and_heads() -> None:
    assert completed("fuse", "train", "--set", "trunk") == [f"{key}=" for key in KEYS if "trunk" in key]
    assert completed("fuse", "heads", "ag") == ["ag-fbp"]


def test_two_settings_that_need_each_other_act() -> None:
    """``outputs`` is of m-fbp's pooling of the whole clip, which ``whole`` switches on."""
    alone = fuse("train", "--fusion", "m-fbp", "--set", "outputs=4", "--store", "nowhere")
    assert "--set outputs would do nothing" in alone.output
    both = fuse(
        "train", "--fusion", "m-fbp", "--set", "outputs=4", "--set", "whole=true", "--store", "nowhere"
    )
    assert "would do nothing" not in both.output and "nowhere" in both.output
