"""Build the images and deploy the stack, for one profile.

It needs SAM CLI (`make deploy` installs it), Docker, and the shell's credentials. samconfig.toml names the
stack, its region and its parameters, but not the profile: the images and the stack must have the same one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.failure import Exit, Failure

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "samconfig.toml"
SAM = ROOT / ".venv-sam/bin/sam"

BUCKET_NAME_LENGTH = 63
ACCOUNT_ID_LENGTH = 12


@dataclass(frozen=True)
class Target:
    """What samconfig.toml says of one environment."""

    config_env: str
    stack: str
    region: str
    parameters: dict[str, str]


def run(profile: str, config_env: str) -> None:
    """Build, deploy, and say how to make the first key.

    Parameters
    ----------
    profile : str
        Engine profile.
    config_env : str
        Section of samconfig.toml.

    Raises
    ------
    Failure
    """
    target = read(CONFIG, config_env, profile)
    for command in ("build", "deploy"):
        _sam(command, target)
    print(first_steps(target))


def read(config: Path, config_env: str, profile: str) -> Target:
    """Read one environment of samconfig.toml, and add the profile to its parameters.

    Raises
    ------
    Failure
        There is no such environment, it names a profile itself, or its stack's name cannot be used.
    """
    document: dict[str, Any] = tomllib.loads(config.read_text())
    if config_env not in document:
        raise Failure(Exit.USAGE, f"{config.name} has no environment {config_env}")
    section = document[config_env]
    overrides = shlex.split(section["deploy"]["parameters"]["parameter_overrides"])
    parameters = dict(pair.split("=", 1) for pair in overrides)
    if "Profile" in parameters:
        raise Failure(Exit.USAGE, f"{config.name} names a Profile: say PROFILE= instead")
    stack, region = (section["global"]["parameters"][name] for name in ("stack_name", "region"))
    check_stack_name(stack, region)
    return Target(config_env, stack, region, parameters | {"Profile": profile})


def check_stack_name(name: str, region: str) -> None:
    """Check that the bucket can be named after the stack: ``{name}-audio-{account}-{region}``.

    Raises
    ------
    Failure

    Examples
    --------
    >>> check_stack_name("music", "us-east-1")
    """
    longest = BUCKET_NAME_LENGTH - len("-audio--") - ACCOUNT_ID_LENGTH - len(region)
    if len(name) > longest:
        raise Failure(
            Exit.USAGE, f"the stack name {name} has {len(name)} characters: {region} leaves {longest}"
        )
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise Failure(Exit.USAGE, f"the stack name {name} must be of a-z, 0-9 and hyphens, a letter first")


def first_steps(target: Target) -> str:
    """Return what to do after a deployment: under ``AuthMode=none``, to know that it is open to everybody."""
    if target.parameters.get("AuthMode") == "none":
        return "AuthMode=none: whoever knows the URL may use this deployment."
    command = f".venv/bin/music keys create --stack {target.stack}"
    return f"Requests need an API key. This makes one:\n    AWS_DEFAULT_REGION={target.region} {command}"


def _sam(command: str, target: Target) -> None:
    overrides = [f"{name}={value}" for name, value in target.parameters.items()]
    arguments = [command, "--config-env", target.config_env, "--parameter-overrides", *overrides]
    try:
        status = subprocess.run([SAM, *arguments], cwd=ROOT, check=False).returncode
    except FileNotFoundError as error:
        raise Failure(Exit.USAGE, f"{SAM.relative_to(ROOT)} is missing: `make deploy` installs it") from error
    if status:
        raise Failure(Exit.FAILED, f"sam {command} failed")
