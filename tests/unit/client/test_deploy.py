"""`music deploy`: one profile for the images and the stack, and what comes after."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest

from client import aws, command, deploy
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


REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
DIGEST = f"sha256:{'5e' * 32}"
DOCKERS = "application/vnd.docker.distribution.manifest.v2+json"
OCIS = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def docker(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Docker that notes its arguments and what it reads beside those of SAM CLI."""
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "read = sys.stdin.read() if '--password-stdin' in sys.argv else ''\n"
        "with open(folder / 'calls', 'a') as file:\n"
        "    print(json.dumps(['docker', *sys.argv[1:], *filter(None, [read])]), file=file)\n"
        "assert os.environ['BUILDX_NO_DEFAULT_ATTESTATIONS'] == '1'\n"
        "if sys.argv[1] == 'image':\n"
        "    digests = folder / 'digests'\n"
        "    image = sys.argv[-1].partition(':')[0]\n"
        f"    pushed = 'other/one@sha256:00 ' + image + '@{DIGEST}'\n"
        "    print(digests.read_text() if digests.exists() else pushed)\n"
        "fails = folder / 'fails'\n"
        "sys.exit(fails.exists() and fails.read_text() == 'docker ' + sys.argv[1])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "small/musicgen").mkdir(parents=True)
    monkeypatch.setattr(deploy, "CHECKPOINTS", checkpoints)

    class Ecr:
        """ECR's answers; `manifest` is a file that has what was pushed, of Docker's types by default."""

        def batch_get_image(self, **asked: Any) -> dict[str, Any]:
            assert asked["imageIds"] == [{"imageDigest": DIGEST}]
            pushed = tmp_path / "manifest"
            manifest = pushed.read_text() if pushed.exists() else json.dumps({"mediaType": DOCKERS})
            kind = json.loads(manifest)["mediaType"]
            if kind not in asked["acceptedMediaTypes"]:
                return {"images": [], "failures": [{"failureCode": "ImageNotFound"}]}
            return {"images": [{"imageManifest": manifest, "imageManifestMediaType": kind}], "failures": []}

        def put_image(self, **given: str) -> dict[str, Any]:
            with calls.open("a") as file:
                print(json.dumps(["put_image", given]), file=file)
            digest = hashlib.sha256(given["imageManifest"].encode()).hexdigest()
            return {"image": {"imageId": {"imageDigest": f"sha256:{digest}"}}}

        def get_authorization_token(self) -> dict[str, Any]:
            token = base64.b64encode(b"AWS:a secret").decode()
            where = {"authorizationToken": token, "proxyEndpoint": f"https://{REGISTRY}"}
            return {"authorizationData": [where]}

    def client(service: str, endpoint_url: str | None = None, region: str | None = None) -> Any:
        assert (service, endpoint_url, region) == ("ecr", None, "us-east-1")
        return Ecr()

    monkeypatch.setattr(aws, "client", client)
    return calls


def made(calls: Path) -> list[list[str]]:
    return [json.loads(line) for line in calls.read_text().splitlines()]


def test_the_image_of_an_endpoint_is_built_pushed_and_named_by_its_digest(docker: Path) -> None:
    asked = ["deploy", "--config-env", "prod", "--profile", "small", "--generate-host", "sagemaker"]
    assert command.main([*asked, "--endpoint-base", "my/base:1"]) == 0
    remote = f"{REGISTRY}/music-prod-endpoint"
    sam_build, build, repository, login, tag, push, inspect, put = made(docker)
    assert sam_build[0] == "build"
    assert build[:4] == ["docker", "build", "--platform", "linux/amd64"]
    assert {"PROFILE=small", "RUNTIME=torch", "BASE_IMAGE=my/base:1"} <= set(build)
    assert build[build.index("--file") + 1] == str(deploy.ROOT / "functions/endpoint/Dockerfile")
    assert repository[0] == "deploy"
    assert repository[repository.index("--template-file") + 1] == str(deploy.REPOSITORY)
    assert repository[repository.index("--region") + 1] == "us-east-1"
    assert repository[-1] == "RepositoryName=music-prod-endpoint"
    assert login == ["docker", "login", "--username", "AWS", "--password-stdin", REGISTRY, "a secret"]
    assert tag == ["docker", "tag", "music-prod-endpoint:small", f"{remote}:small"]
    assert push == ["docker", "push", f"{remote}:small"]
    assert inspect[:3] == ["docker", "image", "inspect"]
    assert {f"EndpointImage={remote}@{DIGEST}", "GenerateHost=sagemaker", "Profile=small"} <= set(put)
    assert "EndpointImage" not in " ".join(sam_build)  # nobody knows it yet


def test_without_an_endpoint_no_image_but_those_of_functions_is_made(docker: Path) -> None:
    assert command.main(["deploy", "--profile", "small"]) == 0
    assert [call[0] for call in made(docker)] == ["build", "deploy"]
    assert all("GenerateHost=lambda" in call for call in made(docker))  # a stack may come back from the other


def test_builtin_on_an_endpoint_goes_without_torch(docker: Path) -> None:
    assert command.main(["deploy", "--generate-host", "sagemaker"]) == 0
    build = made(docker)[1]
    assert {"PROFILE=builtin", "RUNTIME=engine"} <= set(build)
    assert not [part for part in build if part.startswith("BASE_IMAGE")]  # as the Dockerfile says


@pytest.mark.parametrize(
    ("step", "after"),
    [("docker build", 2), ("docker login", 4), ("docker push", 6), ("docker image", 7), ("deploy", 3)],
)
def test_a_step_that_fails_is_the_last(
    docker: Path, capsys: pytest.CaptureFixture[str], step: str, after: int
) -> None:
    docker.with_name("fails").write_text(step)
    assert command.main(["deploy", "--generate-host", "sagemaker", "--profile", "small"]) == 1
    assert len(made(docker)) == after
    said = capsys.readouterr()
    assert f"error: {step if step != 'deploy' else 'sam deploy of the repository'} failed" in said.err
    assert "keys create" not in said.out


def test_an_image_of_ocis_types_gets_a_manifest_that_sagemaker_takes(docker: Path) -> None:
    """As Docker pushes one that containerd stores."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:c0", "size": 7}
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{n}", "size": n}
        for n in (1, 2)
    ]
    pushed = {"schemaVersion": 2, "mediaType": OCIS, "config": config, "layers": layers, "annotations": {}}
    docker.with_name("manifest").write_text(json.dumps(pushed))
    assert command.main(["deploy", "--generate-host", "sagemaker", "--profile", "small"]) == 0
    calls: list[list[Any]] = list(made(docker))
    (put,) = [call[1] for call in calls if call[0] == "put_image"]
    assert (put["repositoryName"], put["imageTag"]) == ("music-dev-endpoint", "small")
    assert put["imageManifestMediaType"] == DOCKERS
    assert json.loads(put["imageManifest"]) == {
        "schemaVersion": 2,
        "mediaType": DOCKERS,
        "config": {**config, "mediaType": "application/vnd.docker.container.image.v1+json"},
        "layers": [
            {**layer, "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"} for layer in layers
        ],
    }
    digest = hashlib.sha256(put["imageManifest"].encode()).hexdigest()
    assert f"EndpointImage={REGISTRY}/music-dev-endpoint@sha256:{digest}" in calls[-1]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        (OCIS, "application/vnd.oci.image.layer.v1.tar+zstd"),
    ],
)
def test_an_image_that_sagemaker_cannot_take_is_not_deployed(
    docker: Path, capsys: pytest.CaptureFixture[str], kind: str, layer: str
) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:c0", "size": 7}
    pushed = {"mediaType": kind, "config": config, "layers": [{**config, "mediaType": layer}]}
    docker.with_name("manifest").write_text(json.dumps(pushed))
    assert command.main(["deploy", "--generate-host", "sagemaker"]) == 1
    assert made(docker)[-1][:3] == ["docker", "image", "inspect"]
    assert "is not of an image that SageMaker takes" in capsys.readouterr().err


def test_an_image_without_a_digest_is_not_deployed(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker.with_name("digests").write_text("")
    assert command.main(["deploy", "--generate-host", "sagemaker"]) == 1
    assert made(docker)[-1][:3] == ["docker", "image", "inspect"]
    assert "no digest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--generate-host", "ec2"], "lambda or sagemaker, not on ec2"),
        (["--generate-host", "sagemaker", "--profile", "medium"], "weights torch medium"),
    ],
)
def test_what_cannot_be_deployed_on_an_endpoint_is_refused_before_anything_is_built(
    docker: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command.main(["deploy", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert made(docker) == []


def test_no_docker_is_noticed_before_anything_is_built(
    docker: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert command.main(["deploy", "--generate-host", "sagemaker"]) == 2
    assert "there is no `docker` here" in capsys.readouterr().err
    assert made(docker) == []


@pytest.mark.parametrize("named", ["GenerateHost=sagemaker", "EndpointImage=x@sha256:0"])
def test_a_host_or_an_image_beside_what_make_says_is_refused(tmp_path: Path, named: str) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG.read_text().replace("Stage=prod", f"Stage=prod {named}"))
    with pytest.raises(Failure, match=f"names an? {named.partition('=')[0]}: "):
        read(config, "prod", "builtin")


def test_the_repository_is_the_one_that_the_endpoints_role_may_read() -> None:
    text = (deploy.ROOT / "template.yaml").read_text()
    assert "repository/${AWS::StackName}-endpoint'" in text
    assert [found.message for found in cfnlint.api.lint_file(deploy.REPOSITORY)] == []
