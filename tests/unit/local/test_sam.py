"""What SAM CLI is given: images of each checkout's own, and routes of which one fits."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from local import sam
from local.gateway import METHODS
from local.logs import Log
from local.template import ROOT, TEMPLATE, read


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


def test_every_method_of_every_path_has_one_route_under_sam_local() -> None:
    """SAM CLI takes either of two that fit, another one each time."""

    def routes(template: dict[str, Any]) -> list[tuple[str, str]]:
        resources = [item.get("Properties", {}) for item in template["Resources"].values()]
        events = [event for item in resources for event in item.get("Events", {}).values()]
        return [(e["Properties"]["Path"], e["Properties"]["Method"]) for e in events if e["Type"] == "Api"]

    template = read()
    paths = {path for path, _ in routes(template)}
    sam.spread_methods(template)
    assert Counter(routes(template)) == Counter((path, method) for path in paths for method in METHODS)


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
