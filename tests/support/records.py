"""Records as tests need them, in each state, and what disturbs those who move them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ReadTimeoutError
from moto.core.botocore_stubber import MockRawResponse

from backend.records import (
    FREE,
    Audio,
    Charge,
    Generation,
    Limits,
    Records,
)

RETENTION = 7 * 24 * 3600.0


def new_audio(
    records: Records,
    tenant: str = "default",
    size: int = 1000,
    limits: Limits | None = None,
    charge: Charge = FREE,
) -> Audio:
    """Make a record that awaits its upload, of so many bytes."""
    return records.create_audio(
        tenant,
        filename="my söng+1.wav",
        content_type="audio/wav",
        size=size,
        upload_expires_at=records.now() + 900,
        correlation_id="corr-1",
        limits=limits,
        charge=charge,
    )


def uploaded(records: Records, tenant: str = "default") -> Audio:
    """Make an audio that is to be embedded."""
    audio = new_audio(records, tenant)
    return records.mark_uploaded(tenant, audio.id, etag='"abc"', size=1234)


def finish(records: Records, audio: Audio) -> list[Generation]:
    """Make a claimed audio ready; return the generations that this releases."""
    finished, released = records.finish_audio(
        audio,
        vector=b"\x00\x00\x80?" * 512,
        identity={"model": "mir-512"},
        features={"tempo": 120.5, "beats": [0.1, 0.6]},
        tags=["fast"],
    )
    assert finished == records.get_audio(audio.tenant, audio.id)
    return released


def ready(records: Records, tenant: str = "default") -> Audio:
    """Make an audio that is ready."""
    audio = uploaded(records, tenant)
    finish(records, records.claim_audio(tenant, audio.id))
    current = records.get_audio(tenant, audio.id)
    assert current
    return current


def submit(records: Records, audio: Audio, **more: Any) -> Generation:
    """Ask for a generation of 30 seconds."""
    return records.submit_generation(
        audio.tenant,
        audio.id,
        profile="builtin",
        **{"parameters": {"duration": 30, "temperature": 0.8}, "correlation_id": "corr-2", **more},
    )


def hears_nothing(records: Records, operation: str) -> list[str]:
    """Let the next request of an operation take effect, and its answer be lost; return what is asked."""
    asked: list[str] = []

    def lose(event_name: str, request: Any, **_: Any) -> None:
        if event_name.endswith(operation):
            asked.append(event_name)
            if len(asked) == 1:
                raise ReadTimeoutError(endpoint_url=request.url)

    # After moto's own handler, which answers: handlers of a longer name would come before it.
    records.items.table.meta.client.meta.events.register_last("before-send", lose)
    return asked


def is_in_a_transaction(records: Records, operation: str) -> list[str]:
    """Let the next request of an operation meet a transaction on its item; return what is asked."""
    asked: list[str] = []

    def refuse(event_name: str, request: Any, **_: Any) -> Any:
        if not event_name.endswith(operation):
            return None
        asked.append(event_name)
        if len(asked) > 1:
            return None
        body = {"__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException", "message": "busy"}
        return AWSResponse(request.url, 400, HTTPHeaders(), MockRawResponse(json.dumps(body).encode()))

    records.items.table.meta.client.meta.events.register_first("before-send", refuse)
    return asked


def race(*targets: Callable[[], Any]) -> None:
    """Call each in a thread of its own, all at the same time."""
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
