"""The audit: what it makes of pip-audit's answers, above all of none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import audit


def answering(tmp_path: Path, text: str, status: int = 0) -> list[str]:
    """A command that prints what pip-audit would."""
    script = tmp_path / "pip_audit.py"
    script.write_text(
        f"import sys\nprint({text!r})\nprint('no route', file=sys.stderr)\nsys.exit({status})\n"
    )
    return [sys.executable, str(script)]


def dependencies(*found: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(found), "fixes": []})


CLEAN = {"name": "a", "version": "1.0", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"], "aliases": []}]}


def test_what_is_said_of_a_lock(tmp_path: Path) -> None:
    command = answering(tmp_path, dependencies(CLEAN, SKIPPED, BAD), status=1)
    found = audit.audit(tmp_path / "x", command)
    assert (found.asked, found.unanswered) == (2, 1)
    assert found.vulnerable == ["c 2: CVE-1, fixed by 2.1"]


def test_no_answer_is_not_good_news(tmp_path: Path) -> None:
    for text in (dependencies(SKIPPED), "Traceback"):
        found = audit.audit(tmp_path / "x", answering(tmp_path, text))
        assert (found.asked, found.unanswered, bool(found.reason)) == (0, 1, True)


@pytest.mark.parametrize(
    ("found", "status", "strict", "said"),
    [
        (audit.Found(asked=3), 0, 0, "0 known vulnerabilities"),
        (audit.Found(asked=3, vulnerable=["c 2: CVE-1"]), 1, 1, "c 2: CVE-1"),
        (audit.Found(unanswered=3, reason="no route"), 0, 2, "NOT AUDITED"),
    ],
)
def test_how_it_ends(
    found: audit.Found,
    status: int,
    strict: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "audit", lambda lock: found)
    assert audit.main([]) == status
    assert audit.main(["--strict"]) == strict
    assert said in capsys.readouterr().out


def test_every_lock_is_asked_about() -> None:
    for function in audit.ROOT.glob("functions/*/Dockerfile"):
        assert [path for path in audit.LOCKS if str(path.relative_to(audit.ROOT)) in function.read_text()]
