"""One logger, tracer and set of metrics, and the correlation id that joins request, message and record.

What a log line says of a job belongs to the thread that works on it, and metrics are counted by any thread.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger, Metrics, Tracer

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME", "music-generation")
NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "MusicGeneration")

logger = Logger(service=SERVICE)
tracer = Tracer(service=SERVICE)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)

_metrics = threading.Lock()


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
    note(correlation_id=chosen)
    return chosen


def note(**keys: Any) -> None:
    """Put keys on every following log line of this thread, until Lambda's next event."""
    logger.thread_safe_append_keys(**keys)


def count(name: str, value: float = 1, unit: str = "Count") -> None:
    """Add a value to a metric."""
    with _metrics:
        metrics.add_metric(name, unit, value)


def flush() -> None:
    """Write what was counted: for a host that is not Lambda, where a decorator does it after each event."""
    with _metrics:
        if metrics.metric_set:
            metrics.flush_metrics()
