"""`music deploy`: one profile for the images and the stack, and what comes after."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from client import command, deploy
from client.deploy import CONFIG, Target, check_stack_name, first_steps, read
from client.failure import Failure


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SAM CLI that notes its arguments, one list a line, and does what `fails` in its folder says."""
    sam, noted = tmp_path / "sam", tmp_path / "calls"
    noted.touch()
    sam.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"with open({str(noted)!r}, 'a') as file:\n"
        "    print(json.dumps(sys.argv[1:]), file=file)\n"
        f"fails = pathlib.Path({str(tmp_path / 'fails')!r})\n"
        "sys.exit(fails.exists() and fails.read_text() == sys.argv[1])\n"
    )
    sam.chmod(0o755)
    monkeypatch.setattr(deploy, "SAM", sam)
    return noted


def test_images_and_stack_are_made_for_the_same_profile(
    calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["deploy", "--config-env", "prod", "--profile", "small"]) == 0
    build, put = (json.loads(line) for line in calls.read_text().splitlines())
    assert build[:3] == ["build", "--config-env", "prod"]
    assert put[:3] == ["deploy", "--config-env", "prod"]
    assert build[3:] == put[3:]  # all of them: they replace those of samconfig.toml
    assert {"Profile=small", "Stage=prod", "AuthMode=keys", "RetentionDays=90"} <= set(put[4:])
    said = capsys.readouterr().out
    assert "AWS_DEFAULT_REGION=us-east-1 .venv/bin/music keys create --stack music-prod" in said


def test_nothing_is_deployed_that_could_not_be_built(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls.with_name("fails").write_text("build")
    assert command.main(["deploy"]) == 1
    assert len(calls.read_text().splitlines()) == 1
    said = capsys.readouterr()
    assert "sam build failed" in said.err
    assert "keys create" not in said.out


@pytest.mark.parametrize("config_env", ["default", "prod"])
def test_every_committed_environment_is_closed(config_env: str) -> None:
    target = read(CONFIG, config_env, "builtin")
    assert target.parameters["AuthMode"] == "keys"
    assert "keys create" in first_steps(target)


def test_an_open_deployment_is_called_open() -> None:
    steps = first_steps(Target("default", "music", "us-east-1", {"AuthMode": "none"}))
    assert "whoever knows the URL" in steps


def test_a_profile_beside_the_one_that_images_are_built_for_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG.read_text().replace("Stage=prod", "Stage=prod Profile=small"))
    with pytest.raises(Failure, match="names a Profile"):
        read(config, "prod", "builtin")
    with pytest.raises(Failure, match="no environment staging"):
        read(config, "staging", "builtin")


def test_a_stack_name_leaves_room_for_its_buckets_name() -> None:
    check_stack_name("m" * 34, "us-east-1")
    check_stack_name("m" * 29, "ap-southeast-1")
    assert len(f"{'m' * 29}-audio-123456789012-ap-southeast-1") == 63
    with pytest.raises(Failure, match="30 characters: ap-southeast-1 leaves 29"):
        check_stack_name("m" * 30, "ap-southeast-1")
    for name in ("Music", "1music", "music_dev"):
        with pytest.raises(Failure, match="must be of"):
            check_stack_name(name, "us-east-1")
