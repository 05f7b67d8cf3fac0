"""Weights in images: baked from a bundle, checked while the image is built, readable for Lambda's user."""

from __future__ import annotations

import os

import pytest

from local.logs import Log
from local.sam import find_base_image
from local.template import ROOT
from music.engine.bundle import files_of
from tests.support.images import docker
from weights import pack

pytestmark = pytest.mark.transport

NETWORKS = {
    "embed": ("clap_audio", "clap_tags"),
    "search": ("clap_text",),
    "generate": ("t5", "musicgen", "encodec", "clap_audio", "clap_tags"),
}
OPEN = """
import os, sys
from music.engine.bundle import TOKENIZED, open_bundle
from music.profiles import bundle_folder
bundle = open_bundle(bundle_folder("tiny"), "tiny", sys.argv[1:])
bundle.verify()
bundle.require_memory()
for network in set(sys.argv[1:]) & set(TOKENIZED):
    from tokenizers import Tokenizer
    Tokenizer.from_file(str(bundle.tokenizer(network)))
print(*os.listdir(bundle.path))
"""


def build(function: str, profile: str, base_image: str) -> str:
    """Build an image as `sam build` does, under a name of its own: others may have the same image."""
    image = f"weights-{function}-{profile}:{os.getpid()}"
    arguments = ("--build-arg", f"BASE_IMAGE={base_image}", "--build-arg", f"PROFILE={profile}")
    docker(
        "build",
        "--quiet",
        "--tag",
        image,
        *arguments,
        "--file",
        f"{ROOT}/functions/{function}/Dockerfile",
        str(ROOT),
    )
    return image


@pytest.fixture(scope="module")
def base_image(engine: None) -> str:
    return find_base_image(Log())


@pytest.fixture(params=list(NETWORKS))
def function(request: pytest.FixtureRequest) -> str:
    pack.build("tiny", "random", target=ROOT / "build/models")
    return str(request.param)


def test_a_profile_runs_from_its_image_alone(function: str, base_image: str) -> None:
    image = build(function, "tiny", base_image)
    try:
        surroundings = ("--rm", "--read-only", "--user", "993", "--network", "none", "--ipc", "none")
        command = ("--entrypoint", "python3", image, "-c", OPEN, *NETWORKS[function])
        files = docker("run", *surroundings, *command).split()
    finally:
        docker("rmi", image)
    assert set(files) == {"manifest.json", "requirements.txt", *files_of(NETWORKS[function])}


def test_an_image_of_a_profile_without_weights_is_not_built(function: str, base_image: str) -> None:
    with pytest.raises(RuntimeError, match=r"no bundle there .*make models PROFILE=nowhere"):
        build(function, "nowhere", base_image)
