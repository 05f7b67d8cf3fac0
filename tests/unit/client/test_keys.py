"""`music keys` on a stack of AWS: its keys are in the table that the stack's outputs name."""

from __future__ import annotations

import pytest

from backend.keys import Keys
from client import aws
from client.command import main
from client.failure import Exit
from tests.support.stack import Stack


@pytest.fixture(autouse=True)
def _outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's outputs, as CloudFormation tells them."""
    monkeypatch.setattr(aws, "outputs", lambda *asked: {("music", "KeysTableName"): ["keys"]}[asked])


def test_a_key_is_made_listed_and_revoked(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--stack", "music", "--tenant", "studio"]) == 0
    text = capsys.readouterr().out.strip()
    made = Keys(stack.keys)
    assert made.tenant_of(text) == "studio"
    assert main(["keys", "list", "--stack", "music"]) == 0
    assert "tenant studio" in capsys.readouterr().out
    assert main(["keys", "revoke", text.partition(".")[0], "--stack", "music"]) == 0
    assert made.tenant_of(text) is None


def test_a_key_that_is_not_there_cannot_be_revoked(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "revoke", "01M83CEY4JVTCDPZGG4CSZHPYN", "--stack", "music"]) == Exit.NOT_FOUND
    assert "there is no key" in capsys.readouterr().err
