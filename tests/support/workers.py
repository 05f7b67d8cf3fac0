"""One deployment for all tests of a module, emptied before each: setting one up costs half a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, deployed


@pytest.fixture(scope="module")
def deployment() -> Iterator[Stack]:
    """A deployment for a module."""
    with pytest.MonkeyPatch.context() as patch, deployed(patch) as made:
        yield made


@pytest.fixture
def stack(deployment: Stack) -> Stack:
    """The same deployment with nothing in it."""
    deployment.empty()
    return deployment
