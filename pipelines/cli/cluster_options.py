"""Options for where work runs: on this machine or on a cluster."""

from __future__ import annotations

from typing import Any

import click

from ..cluster.engine import ENGINES, ClusterSettings
from .framework import refuse_idle, together


def _parameters(context: click.Context, _: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise click.BadParameter(f"{text!r}: KEY=VALUE expected, such as partition=gpu")
    return {key.replace("-", "_"): value for key, _, value in (text.partition("=") for text in texts)}


cluster_options = together(
    click.option(
        "--on",
        type=click.Choice(ENGINES),
        default="local",
        show_default=True,
        help="Where to run: local (this machine), slurm (pip install 'avemo[slurm]') or ray (pip install "
        "'avemo[ray]'). All machines need the same shared disk.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of parallel tasks on the cluster.  [default: 8 on Slurm; as many as fit on Ray]",
    ),
    click.option(
        "--slurm",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parameters,
        help="Parameter of sbatch, such as partition=cpu, time=120 (minutes), mem=8GB, cpus_per_task=4, "
        "account=lab or gpus_per_node=1. Repeatable.  [default: time=60; cpus_per_task as --workers]",
    ),
    click.option(
        "--ray",
        metavar="ADDRESS",
        default="auto",
        show_default=True,
        help="Ray cluster: auto (the one that this machine belongs to), HOST:PORT, or local (a new one).",
    ),
    click.option(
        "--cancel-on-interrupt",
        is_flag=True,
        help="Ctrl-C also cancels the Slurm tasks. Otherwise they continue, and the same command waits for "
        "them.",
    ),
)


def cluster_of(options: dict[str, Any]) -> ClusterSettings:
    """Pop the cluster options from ``options``; refuse those that would do nothing."""
    on = options.pop("on")
    names = ("jobs", "slurm", "ray", "cancel_on_interrupt")
    jobs, slurm, ray, cancel = (options.pop(name) for name in names)
    if on == "local":
        refuse_idle(dict.fromkeys(names, "the work runs on this machine; add --on slurm or --on ray"))
    if on == "slurm":
        refuse_idle({"ray": "the work runs on Slurm"})
    if on == "ray":
        why = "the work runs on Ray"
        refuse_idle({"slurm": why, "cancel_on_interrupt": f"{why}, whose tasks end with this command"})
    return ClusterSettings(on, jobs or 0, slurm, ray, cancel)
