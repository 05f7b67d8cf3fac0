"""What the end-to-end tests share: the sample track, as a file and as an embedded audio."""

from __future__ import annotations

import pytest

from tests.support import sound
from tests.support.client import Api


@pytest.fixture(scope="session")
def profile(api: Api) -> str:
    """Return the profile of the deployment: some assertions are about what only one of them makes."""
    name: str = api.get("/api/health").ok(200)["profile"]
    return name


@pytest.fixture(scope="session")
def track() -> bytes:
    """Return the sample track, an mp3 file."""
    return sound.track()


@pytest.fixture(scope="session")
def song(api: Api, track: bytes) -> str:
    """Return the audio id of the sample track, which is uploaded and embedded."""
    uploaded = api.upload("Harbour Lights – söng+1.mp3", track, "audio/mpeg")
    api.ready(uploaded)
    audio_id: str = uploaded["audio_id"]
    return audio_id
