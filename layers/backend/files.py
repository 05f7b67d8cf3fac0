"""Files as RFC 9110 describes them: with an `ETag`, in ranges, and under conditions.

What is too large for an answer of the API is read straight from the bucket, at a presigned URL.
"""

from __future__ import annotations

from typing import Annotated, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from backend import api, contract, representation
from backend.api import Api
from backend.problems import Problem
from backend.storage import Storage, StoredObject, content_disposition

Format = Annotated[
    Literal["wav", "flac", "mp3", "ogg"] | None,
    Query(description="By default, the format that the generation was asked for in."),
]


def send(
    app: Api,
    storage: Storage,
    stored: StoredObject,
    filename: str,
    content_type: str,
) -> Response:
    """Answer an object, or the part of it that is asked for: inline if it fits, else at a presigned URL.

    Parameters
    ----------
    app : Api
        Has the request.
    storage : Storage
        Has the object.
    stored : StoredObject
        As `Storage.head` describes it.
    filename, content_type : str
        What the client is told of it.
    """
    asked = {name.lower(): value for name, value in app.current_event.headers.items()}
    if representation.prefers_json(asked.get("accept", "")):
        signed = storage.presign_download(stored.key, filename=filename, content_type=content_type)
        return api.reply(200, contract.Location(url=signed.url, expires_at=signed.expires_at))
    status, part = representation.select(app.method, asked, stored.etag, stored.size)
    if status == 412:
        raise Problem(412, "precondition_failed", f"The file is {stored.etag}, none that If-Match names.")
    headers = {"ETag": stored.etag, "Cache-Control": "no-store", "Accept-Ranges": "bytes"}
    if status == 304:
        return Response(304, body="", headers=dict(headers))
    if stored.size > contract.INLINE_BYTES:
        signed = storage.presign_download(
            stored.key, filename=filename, content_type=content_type, method=app.method
        )
        return api.redirect(signed.url)
    if status == 416:
        headers = {"Content-Range": f"bytes */{stored.size}"}
        raise Problem(416, "range_not_satisfiable", f"The file has {stored.size} bytes.", headers=headers)
    headers |= {"Content-Disposition": content_disposition(filename)}
    if status == 206:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
    if app.method == "HEAD":
        headers["Content-Length"] = str(len(part))
        return Response(status, content_type, b"", headers=dict(headers))
    content = storage.read(stored.key, stored.etag, part) if part else b""
    return Response(status, content_type, content, headers=dict(headers))
