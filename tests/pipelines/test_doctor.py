"""``avemo doctor`` on this machine, and on one where something is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from avemo.pipelines import doctor as doctor_checks
from avemo.pipelines.cli.main import main
from avemo.pipelines.doctor import CHECKS, Finding


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_this_machine_works() -> None:
    result = doctor("--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["works"]
    assert [*dict.fromkeys(finding["name"] for finding in told["findings"])] == [*CHECKS]
    (backbone,) = (finding for finding in told["findings"] if finding["name"] == "backbone")
    assert backbone["found"].startswith("ferplusnet, 512 features, ")


def test_what_is_broken_is_told_and_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Iterator[Finding]:
        raise OSError("no such library\nand more")

    monkeypatch.setattr(doctor_checks, "CHECKS", {"decoders": broken, "python": CHECKS["python"]})
    result = doctor()
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].split() == ["bad", "decoders", "OSError:", "no", "such", "library"]
    assert "→ reinstall avemo" in lines[1]
    assert lines[2].startswith("ok")
    assert lines[-1] == "1 of 2 do not work"


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    (finding,) = CHECKS["cores"]("cores")
    assert finding.state == "note" and "OMP_NUM_THREADS=9999" in finding.found
    assert "unset OMP_NUM_THREADS" in finding.remedy


def test_a_codec_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "CODECS", ("h264", "nosuchcodec"))
    (finding,) = CHECKS["decoders"]("decoders")
    assert finding.state == "note" and finding.found.endswith("without nosuchcodec")


def test_little_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "LITTLE", 1 << 62)
    assert [finding.state for finding in CHECKS["disk"]("disk")] == ["note", "note"]
