"""The web page: one document, and the scripts, styles and sounds that it loads.

The document is made for each request and never stored. What it loads lies at addresses that contain a hash of
its content, and is stored for ever.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from html import escape
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path as PathParameter

from backend import api, openapi, problems
from functions.api.service import app, storage

STATIC = Path(__file__).with_name("static")
DOCUMENT = "index.html"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Content type of each kind of asset. Files of another kind are not served."""
COMPRESSED = {".css", ".js", ".svg", ".txt"}
IMMUTABLE = "public, max-age=31536000, immutable"


@cache
def assets() -> dict[str, bytes]:
    """Read what the document loads, by name."""
    files = sorted(STATIC.iterdir())
    return {path.name: path.read_bytes() for path in files if path.suffix in CONTENT_TYPES}


@cache
def assets_version() -> str:
    """Return the hash of all assets, which is part of their addresses.

    There is one for all, so that a script finds the others beside itself.
    """
    digest = hashlib.sha256()
    for name, content in assets().items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@app.get(
    "/",
    summary="The web page",
    operation_id="page",
    tags=["service"],
    responses=openapi.answers(
        key=False,
        _200={"description": "A page for people.", "content": {"text/html": {"schema": {"type": "string"}}}},
    ),
)
def page() -> Response:
    """Answer the document."""
    nonce = secrets.token_urlsafe(16)
    values = {"assets": f"{app.prefix}/assets/{assets_version()}", "prefix": app.prefix, "nonce": nonce}
    document = (STATIC / DOCUMENT).read_text("utf-8")
    for name, value in values.items():
        document = document.replace(f"{{{name}}}", escape(value))
    return api.text(
        200,
        "text/html; charset=utf-8",
        document,
        {"Content-Security-Policy": content_security_policy(nonce)},
    )


@app.get(
    "/assets/<version>/<name>",
    summary="A part of the web page",
    operation_id="pageAsset",
    tags=["service"],
    responses=openapi.answers(
        404,
        key=False,
        _200={
            "description": "A script, a style sheet, a picture or a sound.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    ),
)
def asset(
    version: Annotated[str, PathParameter(description="Hash of all parts.")],
    name: Annotated[str, PathParameter(description="Name of the file.")],
) -> Response:
    """Answer a file that the document loads."""
    if version != assets_version() or name not in assets():
        raise problems.not_found("asset")
    suffix = Path(name).suffix
    return Response(
        200,
        CONTENT_TYPES[suffix],
        assets()[name],
        headers={"Cache-Control": IMMUTABLE},
        compress=suffix in COMPRESSED,
    )


def content_security_policy(nonce: str) -> str:
    """Return what the document may load, and from where: this origin and the bucket's, nothing else.

    Parameters
    ----------
    nonce : str
        Style elements that carry it are applied: those in the shadow roots of the waveforms.
    """
    signed = urlsplit(storage().presign_download("any", filename="any", content_type="audio/wav").url)
    bucket = f"{signed.scheme}://{signed.netloc}"
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'self' 'nonce-{nonce}'",
        "img-src": "'self'",
        "media-src": f"'self' {bucket} blob:",
        "connect-src": f"'self' {bucket}",
        "frame-src": bucket,  # downloads
        # These do not fall back to `default-src`.
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
