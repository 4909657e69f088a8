"""``avemo doctor``: what this machine has, and what to do about what it has not."""

from __future__ import annotations

from dataclasses import asdict

import click

from ... import __version__
from .framework import command, json_result, tell_result, wants_json

EXAMPLES = """
\b
Examples:
  avemo doctor
  avemo doctor --json > machine.json

\b
Exit code: 0 all works; 1 something does not.
"""


@command("doctor", epilog=EXAMPLES)
@json_result
def doctor() -> int:
    """Say what this machine has for avemo, each part tried: devices, decoders, detector, network, weights."""
    from ..doctor.checks import BAD, examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not wants_json():
            click.echo(f"{finding.state:<5} {finding.name:<9} {finding.found}")
            if finding.remedy:
                click.echo(f"{'':15} → {finding.remedy}")
    bad = [finding for finding in findings if finding.state == BAD]
    if wants_json():
        told = {"avemo": __version__, "works": not bad, "findings": [asdict(each) for each in findings]}
        tell_result(told)
    elif bad:
        click.echo(f"{len(bad)} of {len(findings)} do not work")
    else:
        click.echo("all that is needed works")
    return 1 if bad else 0
