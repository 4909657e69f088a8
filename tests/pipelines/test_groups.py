"""Groups of commands: what their help shows."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from avemo.pipelines.cli.datasets import datasets
from avemo.pipelines.cli.pretrain import pretrain
from avemo.pipelines.cli.store import store


@pytest.mark.parametrize("group", [datasets, pretrain, store])
def test_a_group_has_examples_of_its_own_commands(group: click.Group) -> None:
    text = CliRunner().invoke(group, ["--help"]).output
    _, _, examples = text.partition("Examples:")
    lines = [line.split() for line in examples.splitlines() if line.strip().startswith("avemo ")]
    assert len(lines) > 1
    for _, name, command, *_ in lines:
        assert name == group.name
        assert group.get_command(click.Context(group), command) is not None
