"""Vectors: what is sent to S3 Vectors, and what becomes of its answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from backend.settings import client
from backend.vectors import IndexMissing, Match, Vectors
from tests.support.stack import DIMENSION, Stack

WHERE = {"vectorBucketName": "music-vectors", "indexName": "embeddings"}


def unit(index: int) -> list[float]:
    return [1.0 if i == index else 0.0 for i in range(DIMENSION)]


@pytest.fixture
def vectors(stack: Stack) -> Vectors:
    return Vectors("music-vectors", "embeddings")


def test_the_last_vector_of_an_audio_is_kept_until_it_is_deleted(vectors: Vectors, stack: Stack) -> None:
    assert not vectors.has("t", "a")
    vectors.put("t", "a", unit(3), "mir-512/1/2/float32")
    vectors.put("t", "a", unit(4), "mir-512/1/2/float32", windows=12)
    assert vectors.has("t", "a")
    assert stack.vectors() == ["t/a"]
    answer = stack.s3vectors.get_vectors(**WHERE, keys=["t/a"], returnData=True, returnMetadata=True)
    (kept,) = answer["vectors"]
    assert kept["data"]["float32"] == unit(4)
    described = {"tenant": "t", "identity": "mir-512/1/2/float32", "windows": 12, "audio_id": "a"}
    assert kept["metadata"] == described
    vectors.delete("t", "a")
    vectors.delete("t", "a")
    assert not vectors.has("t", "a")


def test_missing_index_is_named(stack: Stack) -> None:
    absent = Vectors("music-vectors", "elsewhere")
    for call in (
        lambda: absent.put("t", "a", unit(0), "i"),
        lambda: absent.has("t", "a"),
        lambda: absent.delete("t", "a"),
    ):
        with pytest.raises(IndexMissing, match="music-vectors/elsewhere"):
            call()


@pytest.fixture
def stubbed(stack: Stack) -> Iterator[tuple[Vectors, Stubber]]:
    s3vectors = client("s3vectors")
    with Stubber(s3vectors) as stubber:
        yield Vectors("music-vectors", "embeddings", s3vectors), stubber
        stubber.assert_no_pending_responses()


def request(k: int, **more: Any) -> dict[str, Any]:
    conditions = [{"tenant": {"$eq": "t"}}, {"identity": {"$eq": "i"}}, {"audio_id": {"$nin": ["me"]}}]
    return {
        **WHERE,
        "topK": k,
        "queryVector": {"float32": unit(0)},
        "filter": {"$and": conditions},
        "returnDistance": True,
        **more,
    }


def answer(*found: tuple[str, float], **more: Any) -> dict[str, Any]:
    neighbours = [{"key": f"t/{audio_id}", "distance": distance} for audio_id, distance in found]
    return {"vectors": neighbours, "distanceMetric": "cosine", **more}


def test_query_asks_for_the_tenants_own_and_the_same_identity(stubbed: tuple[Vectors, Stubber]) -> None:
    vectors, stubber = stubbed
    stubber.add_response("query_vectors", answer(("b", 0.75), ("a", 0.25)), request(2))
    found = vectors.query("t", unit(0), "i", 2, exclude=["me"])
    assert found == [Match("a", 0.75), Match("b", 0.25)]


def test_query_follows_pages_and_never_returns_itself(stubbed: tuple[Vectors, Stubber]) -> None:
    vectors, stubber = stubbed
    stubber.add_response("query_vectors", answer(("me", 0.0), ("a", 0.1), nextToken="page2"), request(3))
    stubber.add_response("query_vectors", answer(("b", 0.2)), request(3, nextToken="page2"))
    found = vectors.query("t", unit(0), "i", 3, exclude=["me"])
    assert [match.audio_id for match in found] == ["a", "b"]
    assert math.isclose(found[0].score, 0.9)


def test_query_refuses_an_impossible_k(vectors: Vectors) -> None:
    for k in (0, 101):
        with pytest.raises(ValueError, match="k must be"):
            vectors.query("t", unit(0), "i", k)


def test_query_names_a_missing_index(stubbed: tuple[Vectors, Stubber]) -> None:
    vectors, stubber = stubbed
    stubber.add_client_error("query_vectors", "NotFoundException", http_status_code=404)
    with pytest.raises(IndexMissing):
        vectors.query("t", unit(0), "i", 1)
