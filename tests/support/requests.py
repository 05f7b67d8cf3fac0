"""Requests to the HTTP functions, as API Gateway makes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.support.stack import Context


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """Return the body as a document."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """Return the problem document that this has to be (RFC 9457)."""
        assert self.status == status, (self.status, self.body[:1000])
        assert self.headers["content-type"] == "application/problem+json"
        document = self.json
        assert (document["status"], document["code"]) == (status, code), document
        assert document["type"] == "about:blank"
        assert document["title"]
        assert document["detail"]
        return document


def event(
    method: str,
    resource: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: bytes | str | dict[str, Any] | list[Any] | None = None,
    headers: Mapping[str, str] | None = None,
    tenant: str | None = None,
    stage: str = "dev",
    binary: bool = True,
    **parameters: str,
) -> dict[str, Any]:
    """Make a proxy event; `resource` is the template's path, `parameters` fill it in."""
    path = resource.format(**parameters)
    if isinstance(body, dict | list):
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body
    sent = {"Host": "api.example", "X-Forwarded-Proto": "https", "Content-Type": "application/json"}
    sent |= dict(headers or {})
    texts = {name: str(value) for name, value in (query or {}).items()}
    context: dict[str, Any] = {
        "path": f"/{stage}{path}" if stage else path,
        "requestId": "11111111-2222-3333-4444-555555555555",
        "resourcePath": resource,
        "httpMethod": method,
        "stage": stage or "dev",
        "domainName": "api.example",
        "identity": {"sourceIp": "203.0.113.7"},
    }
    if tenant:
        context["authorizer"] = {"tenant": tenant}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": texts or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in texts.items()} or None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": context,
        "body": None if data is None else base64.b64encode(data).decode() if binary else data.decode(),
        "isBase64Encoded": binary and data is not None,
    }


def call(app: ModuleType, method: str, resource: str, *, left: float = 29.0, **arguments: Any) -> Answer:
    """Send a request to a function; the arguments are those of `event`."""
    answer = app.handler(event(method, resource, **arguments), Context(left))
    headers = {name.lower(): values[0] for name, values in answer["multiValueHeaders"].items()}
    body = answer["body"] or ""
    data = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    return Answer(answer["statusCode"], headers, data)


def form(
    content: bytes, filename: str | None = "song.mp3", kind: str = "audio/mpeg", name: str = "file"
) -> dict[str, Any]:
    """Make a multipart body as curl does: `body` and `headers` for `call`."""
    boundary = "------------------------0123456789abcdef"
    quoted = "" if filename is None else f'; filename="{_escaped(filename)}"'
    disposition = f'Content-Disposition: form-data; name="{name}"{quoted}'
    head = f"--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return {"body": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


def _escaped(filename: str) -> str:
    return filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
