"""Build the images and deploy the stack, for one profile.

It needs SAM CLI (`make deploy` installs it), Docker, and the shell's credentials. samconfig.toml names the
stack, its region and its parameters, but not the profile: the images and the stack must have the same one.

SAM CLI builds and pushes the images of functions. Where generations run on an endpoint, its image is built,
pushed and named here, after what SAM builds and before what it deploys:

    sam build                  the functions' images
    docker build               functions/endpoint/Dockerfile
    sam deploy                 repository.yaml, a stack of its own: the other one names an image that is there
    docker login, docker push  and a manifest that SageMaker takes
    sam deploy                 with the image's digest as the parameter EndpointImage
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client import aws
from client.failure import Exit, Failure

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "samconfig.toml"
SAM = ROOT / ".venv-sam/bin/sam"

REPOSITORY = ROOT / "client/repository.yaml"
DOCKERFILE = ROOT / "functions/endpoint/Dockerfile"
CHECKPOINTS = ROOT / "build/models/torch"
HOSTS = ("lambda", "sagemaker")
OURS = {"Profile": "PROFILE", "GenerateHost": "GENERATE_HOST", "EndpointImage": None}
"""Parameters that samconfig.toml must not name, and what says them instead."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_TYPES = {
    "application/vnd.oci.image.config.v1+json": "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
"""What Docker calls what OCI's specification calls otherwise, and is the same."""

BUCKET_NAME_LENGTH = 63
ACCOUNT_ID_LENGTH = 12


@dataclass(frozen=True)
class Target:
    """What samconfig.toml says of one environment."""

    config_env: str
    stack: str
    region: str
    parameters: dict[str, str]


def run(profile: str, config_env: str, host: str = "lambda", base_image: str | None = None) -> None:
    """Build, deploy, and say how to make the first key.

    Parameters
    ----------
    profile : str
        Engine profile.
    config_env : str
        Section of samconfig.toml.
    host : str
        Where generations run: ``"lambda"``, or ``"sagemaker"``, an endpoint.
    base_image : str, optional
        What the endpoint's image starts from; its Dockerfile says a default.

    Raises
    ------
    Failure
        Whatever can be known before is said before anything is built.
    """
    target = read(CONFIG, config_env, profile, host)
    if host == "sagemaker":
        check_endpoint(profile)
    _sam("build", target)
    if host == "sagemaker":
        target.parameters["EndpointImage"] = make_image(target, base_image)
    _sam("deploy", target)
    print(first_steps(target))


def read(config: Path, config_env: str, profile: str, host: str = "lambda") -> Target:
    """Read one environment of samconfig.toml, and add profile and host to its parameters.

    Raises
    ------
    Failure
        There is no such environment or host, the environment names one of them itself, or its stack's name
        cannot be used.
    """
    document: dict[str, Any] = tomllib.loads(config.read_text())
    if config_env not in document:
        raise Failure(Exit.USAGE, f"{config.name} has no environment {config_env}")
    if host not in HOSTS:
        raise Failure(Exit.USAGE, f"generations run on {' or '.join(HOSTS)}, not on {host}")
    section = document[config_env]
    overrides = shlex.split(section["deploy"]["parameters"]["parameter_overrides"])
    parameters = dict(pair.split("=", 1) for pair in overrides)
    for name in OURS.keys() & parameters.keys():
        hint = f"say {OURS[name]}= instead" if OURS[name] else "`make deploy` finds it out"
        raise Failure(Exit.USAGE, f"{config.name} names {_a(name)}: {hint}")
    stack, region = (section["global"]["parameters"][name] for name in ("stack_name", "region"))
    check_stack_name(stack, region)
    return Target(config_env, stack, region, parameters | {"Profile": profile, "GenerateHost": host})


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


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


def check_endpoint(profile: str) -> None:
    """Check that the endpoint's image can be built: Docker, and what it holds of the profile, are there.

    Raises
    ------
    Failure
    """
    if shutil.which("docker") is None:
        raise Failure(Exit.USAGE, "the endpoint's image needs Docker, and there is no `docker` here")
    if profile == "builtin":
        return
    if not (CHECKPOINTS / profile / "musicgen").is_dir():
        command = f".venv/bin/python -m weights torch {profile}"
        raise Failure(
            Exit.USAGE, f"the endpoint's image holds the checkpoint of {profile}: `{command}` lays it out"
        )


def make_image(target: Target, base_image: str | None = None) -> str:
    """Build the endpoint's image, make its repository, and push it there.

    Returns
    -------
    str
        The image by its digest: ``REGISTRY/STACK-endpoint@sha256:…``.

    Raises
    ------
    Failure
    """
    repository = f"{target.stack}-endpoint"
    profile = target.parameters["Profile"]
    # `builtin` computes nothing that a GPU does: its image goes without torch.
    given = {"PROFILE": profile, "RUNTIME": "engine" if profile == "builtin" else "torch"}
    if base_image:
        given["BASE_IMAGE"] = base_image
    arguments = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
    local = f"{repository}:{profile}"
    platform = ("--platform", "linux/amd64")  # of SageMaker's instances, whatever runs here
    _docker("build", *platform, "--file", str(DOCKERFILE), *arguments, "--tag", local, str(ROOT))
    _make_repository(target, repository)
    registry, password = login(target.region)
    remote = f"{registry}/{repository}"
    _docker("login", "--username", "AWS", "--password-stdin", registry, given=password)
    _docker("tag", local, f"{remote}:{profile}")
    _docker("push", f"{remote}:{profile}")
    listed = _docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', f"{remote}:{profile}")
    ours = re.compile(rf"{re.escape(remote)}@sha256:[0-9a-f]{{64}}")
    digests = [line for line in listed.split() if ours.fullmatch(line)]
    if len(digests) != 1:
        raise Failure(
            Exit.FAILED, f"docker push gave {remote} no digest: {listed.strip() or 'none is listed'}"
        )
    return f"{remote}@{_in_dockers_types(target, repository, profile, digests[0].partition('@')[2])}"


def _in_dockers_types(target: Target, repository: str, tag: str, digest: str) -> str:
    """Return the digest of an image's manifest in Docker's types, which is made if it has one in OCI's.

    SageMaker refuses OCI's ("Unsupported manifest media type"), which Docker pushes where containerd stores
    its images. Layers and configuration are the same bytes under other names.
    """
    ecr = aws.client("ecr", region=target.region)
    with aws.failures():
        answer = ecr.batch_get_image(
            repositoryName=repository,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=[DOCKER_MANIFEST, OCI_MANIFEST],
        )
    found = {image["imageManifestMediaType"]: image["imageManifest"] for image in answer["images"]}
    if DOCKER_MANIFEST in found:
        return digest
    try:
        manifest = json.loads(found[OCI_MANIFEST])
        config, *layers = [
            {"mediaType": DOCKER_TYPES[part["mediaType"]], "size": part["size"], "digest": part["digest"]}
            for part in (manifest["config"], *manifest["layers"])
        ]
    except KeyError as error:
        what = f"{error} is not of an image that SageMaker takes"
        raise Failure(Exit.FAILED, f"{repository}@{digest}: {what}") from None
    docker = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers}
    with aws.failures():
        put = ecr.put_image(
            repositoryName=repository,
            imageManifest=json.dumps(docker),
            imageManifestMediaType=DOCKER_MANIFEST,
            imageTag=tag,
        )
    return str(put["image"]["imageId"]["imageDigest"])


def login(region: str) -> tuple[str, str]:
    """Return the host of the account's registry in a region, and a password for it.

    Raises
    ------
    Failure
    """
    with aws.failures():
        (given,) = aws.client("ecr", region=region).get_authorization_token()["authorizationData"]
    password = base64.b64decode(given["authorizationToken"]).decode().partition(":")[2]
    return str(urlsplit(given["proxyEndpoint"]).netloc), password


def _make_repository(target: Target, name: str) -> None:
    where = ("--template-file", str(REPOSITORY), "--stack-name", name, "--region", target.region)
    quietly = ("--no-confirm-changeset", "--no-fail-on-empty-changeset")
    parameters = ("--parameter-overrides", f"RepositoryName={name}")
    _run([SAM, "deploy", *where, *quietly, *parameters], "sam deploy of the repository")


def _sam(command: str, target: Target) -> None:
    overrides = [f"{name}={value}" for name, value in target.parameters.items()]
    arguments = [command, "--config-env", target.config_env, "--parameter-overrides", *overrides]
    _run([SAM, *arguments], f"sam {command}")


def _docker(*arguments: str, given: str | None = None) -> str:
    """Run Docker; what it says of its progress is shown, and what it prints is returned."""
    # SageMaker takes one image by its digest, and no list of an image and what is known of it.
    environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    shown = arguments[0] in {"build", "push"}
    return _run(["docker", *arguments], f"docker {arguments[0]}", given, environment, shown=shown)


def _run(
    command: list[str | Path],
    name: str,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    shown: bool = True,
) -> str:
    """Run a program in the checkout.

    Parameters
    ----------
    command : list
        Its path and its arguments.
    name : str
        What to call it where it fails.
    given : str, optional
        What it reads.
    environment : mapping, optional
        In the place of this process's.
    shown : bool
        Whether the user sees what it prints; otherwise it is returned.

    Raises
    ------
    Failure
    """
    streams: dict[str, Any] = {} if shown else {"stdout": subprocess.PIPE}
    try:
        done = subprocess.run(
            command, cwd=ROOT, check=False, input=given, env=environment, text=True, **streams
        )
    except FileNotFoundError as error:
        missing = Path(command[0])
        if missing == SAM:
            hint = f"{SAM.relative_to(ROOT)} is missing: `make deploy` installs it"
            raise Failure(Exit.USAGE, hint) from error
        raise Failure(Exit.USAGE, f"there is no {missing} here") from error
    if done.returncode:
        raise Failure(Exit.FAILED, f"{name} failed")
    return done.stdout or ""
