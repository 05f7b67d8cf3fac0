"""A small HTTP client for the suite: what any user could write, nothing of the backend in it."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tests.support.waiting import PATIENCE_SECONDS, eventually

UNFINISHED = {"awaiting_upload", "uploaded", "embedding", "waiting", "queued", "running"}


@dataclass(frozen=True)
class Answer:
    """A response. Redirects are not followed, and no status is an exception."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be JSON and say so."""
        kind = self.headers.get_content_type()
        assert kind in {"application/json", "application/problem+json"}, (kind, self.body[:500])
        return json.loads(self.body)

    def ok(self, status: int) -> Any:
        """Return the JSON body of an answer that must have this status."""
        assert self.status == status, (self.status, self.body[:2000])
        return self.json()

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """Return the problem document that this answer must be (RFC 9457)."""
        assert self.status == status, (self.status, self.body[:2000])
        assert self.headers.get_content_type() == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["code"] == code, document
        assert document.get("status", status) == status
        assert document["title"]
        assert document["detail"]
        assert document["type"]
        return document


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """Make the opener at the first request: with TLS it reads `SSL_CERT_FILE`."""
    return urllib.request.build_opener(_NoRedirects)


def send(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request to any address."""
    # As every client but urllib says by itself; without it SAM CLI answers audio as base64 text.
    accepted = {"Accept": "*/*", **(headers or {})}
    parts = urlsplit(url)
    if str(parts.hostname).endswith(".localhost"):  # this machine (RFC 6761), which C libraries need not know
        accepted["Host"] = parts.netloc
        url = parts._replace(netloc=f"localhost:{parts.port}").geturl()
    request = urllib.request.Request(url, data=body, method=method, headers=accepted)
    response: Any  # an HTTPError is a response too
    try:
        response = _opener().open(request, timeout=PATIENCE_SECONDS)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(response.status, response.headers, response.read())


def form(
    fields: Iterable[tuple[str, str]], filename: str, content: bytes, content_type: str
) -> tuple[bytes, dict[str, str]]:
    """Encode a multipart form whose last field is the file, as browsers do."""
    boundary = f"----{uuid.uuid4().hex}"
    name = filename.replace('"', "%22")
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n".encode()
    )
    parts += [content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Api:
    """One deployment.

    Parameters
    ----------
    url : str
        Address of the deployment, its stage included: ``/api/...`` comes after it.
    token : str, optional
        Bearer token.
    patience : float
        Seconds that a job may take before a test gives it up. No test is faster or slower for it.
    """

    def __init__(self, url: str, token: str | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.patience = patience

    def request(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """Send a request to a path of the API, such as ``/api/health``, or to a link that an answer gave."""
        prefix = urlsplit(self.url).path
        # Links carry the deployment's own prefix (its stage) already.
        url = urljoin(self.url, path) if prefix and path.startswith(f"{prefix}/") else self.url + path
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        sent = dict(headers or {})
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if json_body is not None:
            data = json.dumps(json_body).encode()
            sent.setdefault("Content-Type", "application/json")
        return send(method, url, data, sent)

    def get(self, path: str, **query: Any) -> Answer:
        """GET a path or link."""
        return self.request("GET", path, **query)

    def post(self, path: str, json_body: Any = None, **headers: str) -> Answer:
        """POST a JSON document to a path or link; keywords are headers, with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, json_body=json_body, headers=named)

    def delete(self, path: str) -> Answer:
        """DELETE a path or link."""
        return self.request("DELETE", path)

    def upload(self, filename: str, content: bytes, content_type: str = "application/octet-stream") -> Any:
        """Upload a small file through the API and return its answer."""
        body, headers = form([], filename, content, content_type)
        return self.request("POST", "/api/upload", data=body, headers=headers).ok(201)

    def announce(self, filename: str, size: int, content_type: str = "application/octet-stream") -> Any:
        """Ask for a direct upload and return its answer."""
        body = {"filename": filename, "bytes": size, "content_type": content_type}
        return self.post("/api/upload", body).ok(201)

    def upload_directly(self, filename: str, content: bytes, content_type: str = "audio/mpeg") -> Any:
        """Upload a file of any size straight to the bucket and return its record's first answer."""
        announced = self.announce(filename, len(content), content_type)
        answer = post_form(announced["upload"], content)
        assert answer.status in {200, 201, 204}, (answer.status, answer.body[:2000])
        return announced

    def generate(self, audio_id: str, **parameters: Any) -> Any:
        """Ask for music and return the answer."""
        return self.post(f"/api/generate/{audio_id}", parameters).ok(202)

    def finished(self, link: str) -> Any:
        """Wait for the end of an audio's or a generation's job and return its record."""
        return eventually(
            lambda: self.get(link).ok(200),
            until=lambda record: record["status"] not in UNFINISHED,
            every=0.25,
            patience=self.patience,
        )

    def ready(self, uploaded: Any) -> Any:
        """Wait until an upload is embedded and return its record."""
        record = self.finished(uploaded["links"]["self"])
        assert record["status"] == "ready", record
        return record

    def succeeded(self, submitted: Any) -> Any:
        """Wait until a generation is there and return its record."""
        record = self.finished(submitted["links"]["self"])
        assert record["status"] == "succeeded", record
        return record

    def make(self, audio_id: str, **parameters: Any) -> tuple[Any, Answer]:
        """Generate and download; return the record and the answer with the audio, redirects followed."""
        record = self.succeeded(self.generate(audio_id, **parameters))
        answer = self.get(record["links"]["download"])
        if answer.status == 302:
            answer = send("GET", answer.headers["Location"])
        assert answer.status == 200, (answer.status, answer.body[:2000])
        return record, answer


def post_form(upload: Any, content: bytes, **changed: str) -> Answer:
    """Send a file as a presigned upload says; keywords change its form's fields, with _ for -."""
    fields = upload["fields"] | {name.replace("_", "-"): value for name, value in changed.items()}
    body, headers = form(fields.items(), "file", content, fields.get("Content-Type", "audio/mpeg"))
    return send("POST", upload["url"], body, headers)
