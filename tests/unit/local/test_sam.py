"""Two checkouts on one machine keep their images apart."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from local import sam
from local.logs import Log
from local.template import ROOT, TEMPLATE


def test_images_are_named_after_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEMPLATE.read_text()
    functions = text.count("Type: AWS::Serverless::Function")
    named = []
    for checkout in ("/one", "/two"):
        monkeypatch.setattr(sam, "ROOT", Path(checkout))
        named.append(sam.with_own_images(text))
    one, two = (re.findall(r"Metadata:\n(?: {6}.*\n)*? {6}DockerImage: (\S+)\n", text) for text in named)
    assert len(set(one)) == functions
    assert len({*one, *two}) == 2 * functions
    assert all(re.fullmatch(r"[a-z]+function-[0-9a-f]{8}", name) for name in one + two)
    for template in named:  # and nothing else is different
        assert re.sub(r" +DockerImage: .*\n", "", template) == text


def test_nothing_is_written_outside_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock in a folder that everybody may write to would follow a link that somebody else put there."""
    ran: list[list[str]] = []

    def run(command: list[object], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append([str(word) for word in command])
        return subprocess.CompletedProcess(ran[-1], 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nobody writes here"))
    for name, path in (("SAM", "sam"), ("WORK", ".aws-sam"), ("BUILT", ".aws-sam/build/template.yaml")):
        monkeypatch.setattr(sam, name, tmp_path / path)
    (tmp_path / "sam").touch()
    sam.build("base:1", {"Profile": "builtin"}, Log(io.StringIO()))
    (command,) = ran
    assert command[command.index("--template") + 1] == str(tmp_path / ".aws-sam/template.yaml")
    assert command[command.index("--base-dir") + 1] == str(ROOT)  # where the Dockerfiles are
    assert command[-2:] == ["Profile=builtin", "BaseImage=base:1"]
    assert {path.name for path in tmp_path.iterdir()} == {"sam", ".aws-sam"}
