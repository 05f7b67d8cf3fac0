"""One logger, tracer and set of metrics, and the correlation id that joins request, message and record."""

from __future__ import annotations

import os
from uuid import uuid4

from aws_lambda_powertools import Logger, Metrics, Tracer

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME", "music-generation")
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "MusicGeneration")

logger = Logger(service=SERVICE)
tracer = Tracer(service=SERVICE)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)


def new_correlation_id() -> str:
    """Return a fresh correlation id, for work that no request started."""
    return uuid4().hex


def correlate(correlation_id: str | None) -> str:
    """Put a correlation id on every following log line, a fresh one when there is none.

    Returns
    -------
    str
        The id now in use.
    """
    chosen = correlation_id or new_correlation_id()
    logger.set_correlation_id(chosen)
    return chosen
