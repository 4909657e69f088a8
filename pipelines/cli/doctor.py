"""``avemo doctor``: test this machine, and say how to get what is missing."""

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
Exit code: 0 everything works; 1 something does not.
"""


@command("doctor", epilog=EXAMPLES)
@json_result
def doctor() -> int:
    """Test each part that avemo needs on this machine: devices, decoders, detector, network, weights."""
    from ..doctor import BAD, examine

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
        click.echo("everything needed works")
    return 1 if bad else 0
