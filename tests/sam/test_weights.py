"""Weights in images: baked from a bundle, checked while the image is built, readable for Lambda's user."""

from __future__ import annotations

import pytest

from local.logs import Log
from local.sam import find_base_image
from local.template import ROOT
from tests.support.images import docker
from weights import pack

pytestmark = pytest.mark.transport

NETWORKS = {
    "embed": ("clap_audio", "clap_tags", "clap_text"),
    "generate": ("t5", "musicgen", "encodec", "clap_audio", "clap_tags", "clap_text"),
}
OPEN = """
import os, sys
from music.engine.bundle import open_bundle
from music.profiles import bundle_folder
from tokenizers import Tokenizer
bundle = open_bundle(bundle_folder("tiny"), "tiny", sys.argv[1:])
bundle.verify()
bundle.require_memory()
Tokenizer.from_file(str(bundle.tokenizer("clap_text")))
print(os.environ["HF_HUB_OFFLINE"], len(os.listdir(bundle.path)))
"""


def build(function: str, profile: str, base_image: str) -> str:
    """Build an image as `sam build` does; give its id."""
    arguments = ("--build-arg", f"BASE_IMAGE={base_image}", "--build-arg", f"PROFILE={profile}")
    dockerfile = f"{ROOT}/functions/{function}/Dockerfile"
    return docker("build", "--quiet", *arguments, "--file", dockerfile, str(ROOT)).splitlines()[-1]


@pytest.fixture(scope="module")
def base_image() -> str:
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
        offline, files = docker("run", *surroundings, *command).split()
    finally:
        docker("rmi", "--force", image)
    networks = NETWORKS[function]
    tokenizers = sum(network in ("t5", "clap_text") for network in networks)
    assert offline == "1"
    assert int(files) == len(networks) + tokenizers + 2, "weights, tokenizers, manifest, requirements"


def test_an_image_of_a_profile_without_weights_is_not_built(function: str, base_image: str) -> None:
    with pytest.raises(RuntimeError, match=r"no bundle there .*make models PROFILE=nowhere"):
        build(function, "nowhere", base_image)
