"""The service itself: its health and its description."""

from __future__ import annotations

import json
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
