"""Two checkouts on one machine keep their images apart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from local import sam


def test_images_are_named_after_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    named = []
    for checkout in ("one", "two"):
        monkeypatch.setattr(sam, "ROOT", tmp_path / checkout)
        built = tmp_path / "template.yaml"
        functions = {
            name: {"Type": "AWS::Serverless::Function", "Properties": {"ImageUri": "embedfunction:embed"}}
            for name in ("EmbedFunction", "SearchFunction")
        }
        built.write_text(yaml.safe_dump({"Resources": {**functions, "Queue": {"Type": "AWS::SQS::Queue"}}}))
        sam.name_images(built)
        resources = yaml.safe_load(built.read_text())["Resources"]
        images = {resources[name]["Properties"]["ImageUri"] for name in functions}
        assert len(images) == 1
        named.append(images.pop())
        assert ran[-1] == ["docker", "tag", "embedfunction:embed", named[-1]]
    assert named[0] != named[1]
    assert all(name.startswith("embedfunction-") and name.endswith(":embed") for name in named)
