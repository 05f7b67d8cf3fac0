"""The deployment that the suite runs against: `API_URL` (and `API_TOKEN`), else a local stack of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local.stack import StackProcess
from tests.integration import sound
from tests.integration.client import Api


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """The deployment."""
    if url := os.environ.get("API_URL"):
        yield Api(url, os.environ.get("API_TOKEN"))
        return
    with StackProcess() as stack:
        yield Api(stack.api_url)


@pytest.fixture(scope="session")
def track() -> bytes:
    """The sample track, an mp3 file."""
    return sound.track()


@pytest.fixture(scope="session")
def song(api: Api, track: bytes) -> str:
    """The audio id of the sample track, uploaded and embedded."""
    uploaded = api.upload("Harbour Lights – söng+1.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    audio_id: str = uploaded["audio_id"]
    return audio_id
