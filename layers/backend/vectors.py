"""Embeddings in S3 Vectors: one index, keys ``{tenant}/{audio_id}``; different identities never meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from backend.records import Audio, Records
from backend.settings import Settings, client

if TYPE_CHECKING:
    from mypy_boto3_s3vectors import S3VectorsClient

MAX_RESULTS = 100
"""Neighbours that one query answers at most."""
MAX_QUERIES = 5
"""Queries that are made one after another."""


class IndexMissing(Exception):
    """The vector bucket or its index does not exist: the deployment is incomplete."""


@dataclass(frozen=True)
class Match:
    """A neighbour: its audio and its cosine similarity in [-1, 1]."""

    audio_id: str
    score: float


def neighbours(matches: Iterable[Match], tenant: str, records: Records) -> Iterator[tuple[Audio, float]]:
    """Look up what was found, with its similarity; of what is not ready, the vector is on its way out."""
    found = iter(matches)
    while some := list(islice(found, MAX_RESULTS)):
        there = records.items.get_all(Audio, tenant, [match.audio_id for match in some])
        for match in some:
            audio = there.get(match.audio_id)
            if audio and audio.status == "ready":
                yield audio, match.score


def distinct(found: Iterable[tuple[Audio, float]], source: Audio) -> Iterator[tuple[Audio, float]]:
    """Leave out what has the same content as the source, or as something before it."""
    seen = {source.sha256}
    for audio, score in found:
        if audio.sha256 is None or audio.sha256 not in seen:
            seen.add(audio.sha256)
            yield audio, score


def vector_key(tenant: str, audio_id: str) -> str:
    """Return the key of an audio's vector."""
    return f"{tenant}/{audio_id}"


def parse_vector_key(key: str) -> tuple[str, str]:
    """Return tenant and audio id of a vector's key."""
    tenant, _, audio_id = key.rpartition("/")
    return tenant, audio_id


class Vectors:
    """The index of embeddings.

    Parameters
    ----------
    bucket, index : str
        Names of the vector bucket and its index (cosine distance).
    s3vectors : S3VectorsClient, optional
        Client to use; one with bounded retries is made when absent.
    """

    def __init__(self, bucket: str, index: str, s3vectors: S3VectorsClient | None = None) -> None:
        self._where: dict[str, str] = {"vectorBucketName": bucket, "indexName": index}
        self._s3vectors: Any = s3vectors or client("s3vectors")

    @classmethod
    def from_settings(cls, settings: Settings) -> Vectors:
        """Make the index that a deployment has."""
        return cls(settings.vector_bucket_name, settings.vector_index_name)

    def put(
        self, tenant: str, audio_id: str, vector: Sequence[float], identity: str, windows: int = 1
    ) -> None:
        """Store an audio's vector, in place of an earlier one.

        Parameters
        ----------
        vector : sequence of float [shape=(dimension,)]
            Unit vector.
        identity : str
            What made it: ``identity.id`` of the embedder.
        windows : int
            Windows of sound that it is the mean of.
        """
        record = {
            "key": vector_key(tenant, audio_id),
            "data": {"float32": [float(value) for value in vector]},
            "metadata": {"tenant": tenant, "identity": identity, "windows": windows, "audio_id": audio_id},
        }
        with self._clear_errors():
            self._s3vectors.put_vectors(**self._where, vectors=[record])

    def has(self, tenant: str, audio_id: str) -> bool:
        """Return whether an audio's vector is there."""
        with self._clear_errors():
            answer = self._s3vectors.get_vectors(**self._where, keys=[vector_key(tenant, audio_id)])
        return bool(answer["vectors"])

    def page(self, after: str | None, limit: int) -> tuple[list[str], str | None]:
        """List the keys of vectors, a page at a time.

        Parameters
        ----------
        after : str or None
            Where the page before ended, as it said; None begins anew.
        limit : int
            How many, 1 to 1000.

        Returns
        -------
        list of str
        str or None
            Where the next page begins; None after the last one.
        """
        page = {"nextToken": after} if after else {}
        with self._clear_errors():
            try:
                answer = self._s3vectors.list_vectors(**self._where, maxResults=limit, **page)
            except ClientError as error:
                if not after or error.response["Error"]["Code"] != "ValidationException":
                    raise
                return [], None  # too old a token: the next page is the first one
        return [vector["key"] for vector in answer["vectors"]], answer.get("nextToken")

    def delete(self, tenant: str, audio_id: str) -> None:
        """Delete an audio's vector; no error when there is none."""
        with self._clear_errors():
            self._s3vectors.delete_vectors(**self._where, keys=[vector_key(tenant, audio_id)])

    def query(
        self, tenant: str, vector: Sequence[float], identity: str, k: int, exclude: Sequence[str] = ()
    ) -> list[Match]:
        """Return the nearest audio of the same tenant and identity, best first.

        Parameters
        ----------
        vector : sequence of float [shape=(dimension,)]
            Unit vector to compare with.
        identity : str
            Only vectors made by the same embedder, revision, pipeline and precision are compared.
        k : int
            How many, 1 to 100.
        exclude : sequence of str
            Audio to leave out, such as the one the vector belongs to. Excluded by the index, not afterwards,
            so that k neighbours come back and not k - 1.
        """
        if not 1 <= k <= MAX_RESULTS:
            raise ValueError(f"k must be 1 to {MAX_RESULTS}, not {k}")
        conditions: list[dict[str, Any]] = [{"tenant": {"$eq": tenant}}, {"identity": {"$eq": identity}}]
        if exclude:
            conditions.append({"audio_id": {"$nin": list(exclude)}})
        request: dict[str, Any] = {
            **self._where,
            "topK": k,
            "queryVector": {"float32": [float(value) for value in vector]},
            "filter": {"$and": conditions},
            "returnDistance": True,
        }
        matches: list[Match] = []
        token: str | None = None
        with self._clear_errors():
            while True:
                answer = self._s3vectors.query_vectors(**request, **({"nextToken": token} if token else {}))
                for found in answer["vectors"]:
                    # The service's cosine distance is 1 - cosine similarity.
                    matches.append(Match(found["key"].rpartition("/")[2], 1.0 - found["distance"]))
                token = answer.get("nextToken")
                if not token:
                    break
        return sorted((m for m in matches if m.audio_id not in exclude), key=lambda match: -match.score)[:k]

    def nearest(self, tenant: str, vector: Sequence[float], identity: str, exclude: str) -> Iterator[Match]:
        """Go through the nearest audio, best first: `MAX_QUERIES` times what one query answers, at most.

        The parameters are those of `query`, which is asked as soon as what it answered is used up.
        """
        known = [exclude]
        for _ in range(MAX_QUERIES):
            matches = self.query(tenant, vector, identity, MAX_RESULTS, exclude=known)
            if not matches:
                return
            yield from matches
            known += [match.audio_id for match in matches]

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotFoundException":
                where = "/".join(self._where.values())
                raise IndexMissing(f"vector index {where} does not exist") from error
            raise
