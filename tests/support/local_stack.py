"""The local stack in the process of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto import mock_aws

from local.stack import Stack


@contextmanager
def local_stack(**options: Any) -> Iterator[Stack]:
    """Run a `Stack` with these options. It begins empty: moto's memory of earlier ones is wiped."""
    with mock_aws():
        pass
    with Stack(**options) as stack:
        yield stack
