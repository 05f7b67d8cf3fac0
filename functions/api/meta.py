"""The service itself: its health, its description, and a page for people."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from aws_lambda_powertools.event_handler import Response
from botocore.exceptions import BotoCoreError, ClientError

from backend import api, contract, openapi, problems
from backend.observability import logger
from backend.settings import DEFAULT_TENANT
from functions.api.service import app, records, settings
from music import profiles

accuracy = profiles.accuracy(settings.profile)


@app.get(
    "/api/health",
    summary="Is the service well?",
    operation_id="health",
    tags=["service"],
    responses=openapi.answers(503, key=False, _200=openapi.document(contract.Health, "It is.")),
)
def health() -> Response:
    """Answer whether the table can be reached, and how well the weights were packed."""
    try:
        records.get_audio(DEFAULT_TENANT, "0" * 26)
    except (BotoCoreError, ClientError) as error:
        logger.exception("table unreachable")
        raise problems.later(503, "unavailable", "The table cannot be reached.") from error
    known = {"accuracy": contract.Accuracy.model_validate(accuracy)} if accuracy else {}
    return api.reply(
        200, contract.Health(status="ok", version=contract.VERSION, profile=settings.profile, **known)
    )


@app.get(
    "/api/openapi.json",
    summary="This description",
    operation_id="openapi",
    tags=["service"],
    responses=openapi.answers(
        key=False,
        _200={"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
    ),
)
def describe() -> Response:
    """Answer the contract, with this deployment's address in it."""
    described = json.loads(Path(contract.__file__).with_name("openapi.json").read_bytes())
    described["servers"] = [{"url": app.prefix or "/"}]
    if settings.auth_mode == "none":
        for operations in described["paths"].values():
            for operation in operations.values():
                operation["security"] = []
    return api.text(200, "application/json", json.dumps(described, ensure_ascii=False))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Music generation</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }</style>
<h1>Music generation</h1>
<p>Upload a track, get its embedding, generate new music like it.</p>
<p>The API is described in <a href="{prefix}/api/openapi.json">openapi.json</a>;
<a href="{prefix}/api/health">its health</a>.</p>
</html>
"""


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
    """Answer a page that says where the API is."""
    # What falls back to `default-src` is closed by it; the others have to be named.
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
    policy += "form-action 'none'"
    headers = {"Content-Security-Policy": policy}
    return api.text(200, "text/html; charset=utf-8", PAGE.replace("{prefix}", escape(app.prefix)), headers)
