"""What the routes share: the deployment's settings, the resolver that they register with, and its clients."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from backend import api, contract
from backend.queues import Queues
from backend.records import Records
from backend.settings import Settings
from backend.storage import Storage
from backend.vectors import Vectors

settings = Settings.from_environment()
app = api.Api(settings, elsewhere={"/api/generation/{generation_id}": ["PATCH"], "/api/audio": ["POST"]})
records = Records.from_settings(settings)
queues = Queues.from_settings(settings)

Cursor = Annotated[str | None, Query(max_length=200, description="From the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items on a page.")]
Wait = Annotated[
    float,
    Query(ge=0, le=contract.MAX_WAIT_SECONDS, description="Answer at the latest after so many seconds."),
]
LOCATION = {"Location": {"schema": {"type": "string"}}}


@cache
def storage() -> Storage:
    """Return the client of the bucket, made for the first request that needs it.

    Few do, and a cold start is not to pay for it.
    """
    return Storage.from_settings(settings)


@cache
def vectors() -> Vectors:
    """Return the client of the index of embeddings, made for the first request that needs it."""
    return Vectors.from_settings(settings)
