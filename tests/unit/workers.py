"""One deployment for all tests of a module, emptied before each: setting one up costs half a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.stack import Stack, deployed
from tests.unit.test_records import START


@pytest.fixture(scope="module")
def deployment() -> Iterator[Stack]:
    """A deployment for a module."""
    with pytest.MonkeyPatch.context() as patch, deployed(patch) as made:
        yield made


@pytest.fixture
def stack(deployment: Stack) -> Stack:
    """The same deployment with nothing in it."""
    table = deployment.records.table
    for item in table.scan()["Items"]:
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    for key in deployment.objects():
        deployment.s3.delete_object(Bucket="music", Key=key)
    if keys := deployment.vectors():
        deployment.s3vectors.delete_vectors(
            vectorBucketName="music-vectors", indexName="embeddings", keys=keys
        )
    for queue in ("embed", "generate", "embed-dead", "generate-dead"):
        deployment.drain(queue)
    deployment.published.clear()
    deployment.clock.now = START
    return deployment
