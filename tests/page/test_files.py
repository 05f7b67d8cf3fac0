"""Tracks in a browser: a player seeks, and pages of another origin upload and download.

On a local stack with keys, and with `AllowedOrigins` narrowed to one origin.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Error, Page, Response

from backend.contract import INLINE_BYTES
from client.stack import StackProcess
from tests.support.client import Api, send
from tests.support.keys import keys

SECONDS = 30

PLAY = """async (source) => {
    const audio = new Audio();
    const heard = name => new Promise((yes, no) => {
        audio.addEventListener(name, yes, {once: true});
        audio.addEventListener("error", () => no(new Error(audio.error.message)), {once: true});
    });
    let waiting = heard("loadedmetadata");
    audio.src = source;
    await waiting;
    waiting = heard("seeked");
    audio.currentTime = 25;
    await waiting;
    return {duration: audio.duration, at: audio.currentTime, end: audio.seekable.end(0)};
}"""

UPLOAD = """async ([api, key, size]) => {
    const file = new Blob([new Uint8Array(size).fill(7)]);
    const asked = await fetch(api + "/api/upload", {
        method: "POST",
        headers: {
            "Authorization": "Bearer " + key,
            "Content-Type": "application/json",
            "Idempotency-Key": "one",
        },
        body: JSON.stringify({filename: "söng.wav", bytes: size, content_type: "audio/wav"}),
    });
    const announced = await asked.json();
    const form = new FormData();
    for (const [name, value] of Object.entries(announced.upload.fields)) form.append(name, value);
    form.append("file", file);
    const sent = await fetch(announced.upload.url, {method: "POST", body: form});
    return {status: sent.status, etag: sent.headers.get("ETag"), audio: announced.audio_id};
}"""

DOWNLOAD = """async ([url, key, accept]) => {
    const headers = {"Authorization": "Bearer " + key, "Accept": accept};
    let answer = await fetch(url, {headers});
    if (answer.headers.get("Content-Type") === "application/json") {
        answer = await fetch((await answer.json()).url);
    }
    return {
        status: answer.status,
        bytes: (await answer.arrayBuffer()).byteLength,
        name: answer.headers.get("Content-Disposition"),
    };
}"""


@dataclass(frozen=True)
class Deployed:
    """A deployment, with a key of its own."""

    api: Api
    key: str
    endpoint_url: str


@pytest.fixture(scope="module")
def deployed(origin: str) -> Iterator[Deployed]:
    with StackProcess("--auth", "keys", "--parameter", f"AllowedOrigins={origin}") as stack:
        key = keys(stack, "create")
        yield Deployed(Api(stack.api_url, key), key, stack.endpoint_url)


@pytest.fixture(scope="module")
def track(deployed: Deployed) -> Any:
    """A record of 30 seconds of wav, inline in an answer: 960 kB."""
    noise = np.random.default_rng(0).integers(-3000, 3000, SECONDS * 16_000, np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        writer.writeframes(noise.tobytes())
    uploaded = deployed.api.upload("noise.wav", file.getvalue(), "audio/wav")
    return deployed.api.finished(uploaded["links"]["self"])


def test_an_audio_element_seeks_though_it_sends_no_key(page: Page, origin: str, track: Any) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(origin)
    answers.clear()
    heard = page.evaluate(PLAY, track["links"]["play"])
    assert heard["duration"] == pytest.approx(SECONDS, abs=0.01)
    assert (heard["at"], heard["end"]) == (25, pytest.approx(SECONDS, abs=0.01))
    assert {answer.status for answer in answers} == {206}


def test_an_audio_element_seeks_in_what_the_api_answers(
    page: Page, origin: str, deployed: Deployed, track: Any
) -> None:
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(origin)
    answers.clear()
    # The key that the element cannot send, so that the API's own ranges are tried, too.
    url = deployed.api.url + track["links"]["content"]
    page.route(
        url,
        lambda route: route.continue_(
            headers={**route.request.headers, "authorization": f"Bearer {deployed.key}"}
        ),
    )
    heard = page.evaluate(PLAY, url)
    assert (heard["at"], heard["end"]) == (25, pytest.approx(SECONDS, abs=0.01))
    assert {answer.status for answer in answers} == {206}


def test_a_page_of_an_allowed_origin_uploads_and_downloads_what_is_large(
    page: Page, origin: str, deployed: Deployed
) -> None:
    size = INLINE_BYTES + 300_000
    page.goto(origin)
    sent = page.evaluate(UPLOAD, [deployed.api.url, deployed.key, size])
    assert sent["status"] == 204
    assert sent["etag"]  # the bucket lets the page see it
    url = f"{deployed.api.url}/api/audio/{sent['audio']}/content"
    got = page.evaluate(DOWNLOAD, [url, deployed.key, "application/json"])
    assert (got["status"], got["bytes"]) == (200, size)
    assert "s%C3%B6ng.wav" in got["name"]
    # After the redirect its origin is `null`, which the bucket does not know: the reason for the JSON.
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate(DOWNLOAD, [url, deployed.key, "*/*"])


def test_a_page_of_another_origin_is_refused(
    page: Page, stranger: str, deployed: Deployed, track: Any
) -> None:
    page.goto(stranger)
    for script, arguments in (
        (UPLOAD, [deployed.api.url, deployed.key, 1000]),
        (DOWNLOAD, [deployed.api.url + track["links"]["content"], deployed.key, "*/*"]),
        ("url => fetch(url).then(answer => answer.status)", track["links"]["play"]),
    ):
        with pytest.raises(Error, match="Failed to fetch"):
            page.evaluate(script, arguments)


def test_the_apis_own_page_may_use_the_bucket(
    deployed: Deployed, origin: str, stranger: str, track: Any
) -> None:
    bucket = track["links"]["play"].partition("/uploads/")[0]
    for asking, status in ((deployed.api.url, 200), (origin, 200), (stranger, 403), ("null", 403)):
        headers = {"Origin": asking, "Access-Control-Request-Method": "POST"}
        assert send("OPTIONS", bucket, headers=headers).status == status
