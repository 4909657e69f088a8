"""Options: the groups of ``--help``, and what the shell completes."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from avemo.extract.backbones import audio_names
from avemo.extract.backbones import registry as backbones
from avemo.fusion.features.recipes import RECIPES
from avemo.fusion.heads.attention import ATTENTIONS
from avemo.fusion.heads.encoders import ENCODERS
from avemo.fusion.heads.registry import HEADS
from avemo.pipelines.cli import completion
from avemo.pipelines.cli.framework import FEW, GROUPS, by_group, group_of
from avemo.pipelines.cli.main import main
from avemo.pipelines.corpora.clips.find import DATASETS

from .test_outputs import commands

COMMANDS = dict(commands(main))
MANY = sorted(
    name
    for name, command in COMMANDS.items()
    if sum(isinstance(option, click.Option) for option in command.params) > FEW
)
OUR_HEADS = tuple(name for name, head in HEADS.items() if head.__module__.startswith("avemo."))


@pytest.mark.parametrize("name", MANY)
def test_every_option_has_a_group(name: str) -> None:
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert [option.opts for option in options if group_of(option) not in GROUPS] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_each_option_once_in_the_order_of_the_groups(name: str) -> None:
    formatter = click.HelpFormatter(width=100)
    context = click.Context(COMMANDS[name], help_option_names=["-h", "--help"])
    COMMANDS[name].format_options(context, formatter)
    text = formatter.getvalue()
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.MULTILINE)
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert sorted(shown) == sorted(
        [*(option.opts[0] for option in options), *["--debug", "--help"] * ("--help" in shown)]
    )
    headings = re.findall(r"^(\w[\w ]+):$", text, re.MULTILINE)
    if name in MANY:
        assert headings == [group for group in GROUPS if group in headings]
        assert headings[-1] == "Other"
    else:
        assert headings == ["Options"]


def test_the_groups_of_training() -> None:
    groups = by_group(COMMANDS["fuse train"].params)
    assert [*groups] == [each for each in GROUPS if each in groups]
    assert {*groups} == {"Features", "Head", "Training", "Selection", "Where it runs", "Output", "Other"}
    assert [option.opts[0] for option in groups["Head"][:2]] == ["--fusion", "--attention"]


def completed(*words: str) -> list[str]:
    """What the shell offers for the last of ``words``."""
    complete = ShellComplete(main, {}, "avemo", "_AVEMO_COMPLETE")
    return [item.value for item in complete.get_completions([*words[:-1]], words[-1])]


def test_the_shell_completes_names() -> None:
    assert {*completed("fuse", "train", "--fusion", "")} == {*OUR_HEADS}
    assert completed("fuse", "cv", "--attention", "tr") == ["transformer"]
    assert completed("fuse", "cv", "--visual", "f-mean") == ["f-mean", "f-meanstd", "f-meanstd-2"]
    assert completed("fuse", "train", "--audio", "spec") == ["spectrogram", "spectrogram-stats"]
    assert completed("extract", "clips", "--backbone", "ir") == ["ir50", "irse50"]
    assert completed("pretrain", "face", "--backbone", "vgg") == ["vggface", "vgg19", "vgg19-227"]
    assert completed("extract", "clips", "--detector", "y") == ["yunet", "yunet@"]
    assert {*completed("extract", "clips", "--dataset", "")} == {*DATASETS}
    assert completed("preview", "--dataset", "rav") == ["ravdess"]


def test_names_to_complete_are_those_there_are() -> None:
    assert {*completion.FUSIONS} == {*OUR_HEADS}
    assert tuple(ATTENTIONS) == completion.ATTENTIONS
    assert tuple(ENCODERS) == completion.ENCODERS
    for modality, names in (("visual", completion.VISUAL), ("audio", completion.AUDIO)):
        assert {*names} == {
            "auto",
            *(name for name, each in RECIPES.items() if each.modality == modality),
        }
    assert (*backbones.names(), "onnx@", "timm:") == completion.BACKBONES
    assert tuple(f"{name}@" for name in audio_names()) == completion.AUDIO_NETWORKS


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from click.shell_completion import ShellComplete\n"
        "from avemo.pipelines.cli.main import main\n"
        "complete = ShellComplete(main, {}, 'avemo', '_AVEMO_COMPLETE')\n"
        "assert complete.get_completions(['fuse', 'train', '--fusion'], 'g')\n"
        "assert complete.get_completions(['extract', 'clips', '--dataset'], 'r')\n"
        "print({'torch', 'numpy', 'cv2', 'h5py'} & {*sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
