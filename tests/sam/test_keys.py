"""API keys in real containers: the authorizer's image decides, and `music keys` makes the keys.

On a stack of its own: `sam local` asks the authorizer at every request and remembers nothing, so that a
revoked key ends at once here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.stack import StackProcess
from tests.support import sound
from tests.support.client import Api
from tests.support.keys import keys

pytestmark = pytest.mark.transport


@pytest.fixture(scope="module")
def stack(engine: None) -> Iterator[StackProcess]:
    with StackProcess("--auth", "keys", command="sam") as stack:
        yield stack


def test_each_key_opens_what_is_its_tenants(stack: StackProcess) -> None:
    mine, theirs = (Api(stack.api_url, keys(stack, "create")) for _ in range(2))
    audio = mine.upload("song.mp3", sound.track(), "audio/mpeg")
    assert mine.ready(audio)["status"] == "ready"
    assert [one["audio_id"] for one in mine.get("/api/audio").ok(200)["items"]] == [audio["audio_id"]]
    assert theirs.get("/api/audio").ok(200)["items"] == []
    theirs.get(audio["links"]["self"]).problem(404, "not_found")
    theirs.delete(audio["links"]["self"]).problem(404, "not_found")
    assert mine.get(audio["links"]["self"]).ok(200)["status"] == "ready"


def test_without_a_key_nobody_is_let_in(stack: StackProcess) -> None:
    text = keys(stack, "create", "--tenant", "studio")
    key_id = text.partition(".")[0]
    assert Api(stack.api_url, text).get("/api/audio").status == 200
    for token, status in ((None, 401), ("nonsense", 401), (f"{key_id}.{'A' * 43}", 403)):
        for path in ("/api/audio", "/api/generation"):
            assert Api(stack.api_url, token).get(path).status == status, (token, path)
    assert Api(stack.api_url).get("/api/health").status == 200
    assert keys(stack, "list", "--tenant", "studio").endswith("valid")
    keys(stack, "revoke", key_id)
    assert Api(stack.api_url, text).get("/api/audio").status == 403
