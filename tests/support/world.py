"""A tenant of the deployment in moto, with source tracks and generations in every state."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast
from uuid import uuid4

import numpy as np

from backend.records import Audio, Generation
from backend.storage import generated_key
from backend.vectors import Vectors
from local.aws.vectors import query_vectors
from music import interfaces, profiles
from tests.support.requests import Answer, call
from tests.support.stack import ACCOUNT, DIMENSION, Stack

FEATURES = {"duration": 3.0, "tempo": 120.0, "key": "A", "mode": "minor"}


class Index:
    """The vector index of moto, with the queries that moto lacks."""

    def __init__(self, s3vectors: Any) -> None:
        self._s3vectors = s3vectors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3vectors, name)

    def query_vectors(self, **request: Any) -> dict[str, Any]:
        return query_vectors(request, account=ACCOUNT)


class World:
    """The deployment, seen by one tenant of its own."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.records, self.clock = stack, stack.records, stack.clock
        self.app = stack.app("api")
        self.tenant = f"t{uuid4().hex}"
        self.index = Vectors("music-vectors", "embeddings", cast(Any, Index(stack.s3vectors)))

    def call(self, method: str, resource: str, **arguments: Any) -> Answer:
        """Send a request as this tenant."""
        return call(self.app, method, resource, **{"tenant": self.tenant, **arguments})

    def audio(self, filename: str = "my söng.wav") -> Audio:
        """Make an audio that awaits its upload."""
        return self.records.create_audio(
            self.tenant,
            filename=filename,
            content_type="audio/wav",
            size=None,
            upload_expires_at=self.clock() + 900,
            correlation_id="c",
        )

    def claimed(self, body: bytes = b"sound", **arguments: Any) -> Audio:
        """Make an audio that is being embedded."""
        audio = self.audio(**arguments)
        self.stack.upload(audio, body)
        self.records.mark_uploaded(audio.tenant, audio.id, etag='"1"', size=len(body))
        return self.records.claim_audio(audio.tenant, audio.id)

    def ready(
        self,
        vector: np.ndarray | None = None,
        revision: str | None = None,
        identity: interfaces.Identity | None = None,
        sha256: str | None = None,
        duplicate_of: str | None = None,
        features: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Audio:
        """Make an audio with an embedding."""
        audio = self.claimed(**arguments)
        vector = unit(0) if vector is None else vector
        made_by = asdict(identity or profiles.MIR_512) | ({"revision": revision} if revision else {})
        self.index.put(audio.tenant, audio.id, vector.tolist(), interfaces.Identity(**made_by).id)
        self.records.finish_audio(
            audio,
            vector=vector.astype("<f4").tobytes(),
            identity=made_by,
            features=features or FEATURES,
            tags=["minor"],
            sha256=sha256,
            duplicate_of=duplicate_of,
        )
        return self.stack.get_audio(audio)

    def failed(self) -> Audio:
        """Make an audio that could not be embedded."""
        audio = self.claimed()
        self.records.fail_audio(audio, "undecodable", "This is not audio.")
        return self.stack.get_audio(audio)

    def generation(self, audio: Audio | None = None, **parameters: Any) -> Generation:
        """Make a generation, which is queued, or waits for its audio."""
        audio = audio or self.ready()
        return self.stack.submit(audio, **{"format": "wav", **parameters})

    def finished(
        self,
        body: bytes = b"RIFF music",
        audio: Audio | None = None,
        chosen: int | None = None,
        **parameters: Any,
    ) -> Generation:
        """Make a generation that has succeeded; with `chosen`, of several candidates."""
        generation = self.generation(audio, **parameters)
        claimed = self.records.claim_generation(self.tenant, generation.id)
        key = generated_key(self.tenant, generation.id, (generation.parameters or {})["format"])
        self.stack.s3.put_object(Bucket="music", Key=key, Body=body, ContentType="audio/wav")
        result = {"engine": "mosaic", "similarity": {"embedding": 0.9}, "bytes": len(body)}
        result |= {} if chosen is None else {"chosen": chosen}
        return self.records.finish_generation(claimed, result, size=len(body))

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return this tenant's messages in a queue, which is empty afterwards."""
        return [body for body in self.stack.drain(queue) if body["tenant"] == self.tenant]


def unit(seed: int) -> np.ndarray:
    """Make a random unit vector [shape=(512,)]."""
    vector = np.random.default_rng(seed).standard_normal(DIMENSION)
    return vector / np.linalg.norm(vector)


def current_identity() -> interfaces.Identity:
    """Return the identity of the embeddings that the profile in force makes."""
    identity = profiles.DECLARED["builtin"].identity
    assert identity
    return identity
