"""Embeddings of source tracks: get one, make it anew, and find the tracks that are similar."""

from __future__ import annotations

import struct
from itertools import islice
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from backend import api, contract, openapi, problems
from backend.problems import Problem
from backend.records import PENDING_AUDIO, Audio, Charge, Conflict, Limits
from backend.vectors import MAX_QUERIES, MAX_RESULTS, distinct, neighbours
from functions.api.audio import AudioId, find_audio
from functions.api.service import LOCATION, Wait, app, queues, records, settings, vectors
from music import interfaces, profiles

limits = Limits.from_settings(settings)
costs = profiles.DECLARED[settings.profile].costs
current_identity = profiles.identity(settings.profile)


@app.get(
    "/api/embedding/<audio_id>",
    summary="Get a source track's embedding",
    operation_id="getEmbedding",
    tags=["embedding"],
    responses=openapi.answers(
        404,
        409,
        410,
        422,
        _200=openapi.document(contract.Embedding, "The embedding and what was measured."),
        _202=openapi.document(
            contract.PendingEmbedding,
            "Not ready yet: ask again.",
            headers={**LOCATION, **openapi.RETRY_AFTER},
        ),
    ),
)
def get_embedding(audio_id: AudioId, wait: Wait = 20) -> Response:
    """Answer the embedding as soon as it is ready."""
    audio = app.poll(lambda: find_audio(audio_id), lambda found: found.status not in PENDING_AUDIO, wait)
    if audio.status in PENDING_AUDIO:
        return pending_embedding(audio)
    vector, identity = current_vector(audio)
    audio = records.contents.living(audio)
    answer = contract.Embedding.model_validate(
        {
            **identity,
            "audio_id": audio.id,
            "status": "ready",
            "dimension": len(vector),
            # Nine digits tell every float32 apart.
            "embedding": [float(f"{value:.9g}") for value in vector],
            "windows": audio.windows or 1,
            "features": audio.features,
            "tags": audio.tags,
            "tag_scores": audio.tag_scores or {},
            **contract.duplicate(audio),
            "links": contract.audio_links(app.prefix, audio.id),
        }
    )
    return api.reply(200, answer)


@app.post(
    "/api/audio/<audio_id>/embed",
    summary="Embed a source track again",
    description="After a change of the deployment's profile: until then its embedding is stale. Where "
    "tenants have limits, one that is not stale can be made again after ten minutes.",
    operation_id="embedAgain",
    tags=["embedding"],
    responses=openapi.answers(
        404,
        409,
        410,
        _202=openapi.document(
            contract.PendingEmbedding, "It will be embedded.", headers={**LOCATION, **openapi.RETRY_AFTER}
        ),
    ),
)
def embed_again(audio_id: AudioId) -> Response:
    """Send a ready track through the embedder again; one that is on its way there is left alone."""
    audio = find_audio(audio_id)
    if audio.status == "awaiting_upload":
        raise problems.later(409, "awaiting_upload", "The file has not been uploaded.")
    if audio.status == "failed":
        raise failed(audio)
    if audio.status == "ready":
        try:
            audio = records.embed_again(
                audio.tenant,
                audio.id,
                charge=Charge(*costs.embedding(duration_of(audio))),
                limits=limits,
                cool_down=limits is not None and is_current(audio),
            )
        except Conflict:  # another request was faster
            audio = find_audio(audio_id)
        else:
            queues.send_embed(audio.tenant, audio.id, app.correlation_id)
    return pending_embedding(audio)


@app.get(
    "/api/similar/<audio_id>",
    summary="Find similar source tracks",
    operation_id="getSimilar",
    tags=["embedding"],
    responses=openapi.answers(404, 409, 410, 422, _200=openapi.document(contract.Similar, "Best first.")),
)
def get_similar(
    audio_id: AudioId,
    k: Annotated[int, Query(ge=1, le=MAX_RESULTS, description="How many.")] = 10,
    only_distinct: Annotated[
        bool,
        Query(
            alias="distinct",
            description="Only one of each content, and none of the track's own, of the "
            f"{MAX_QUERIES * MAX_RESULTS} nearest.",
        ),
    ] = False,
) -> Response:
    """Answer the tracks nearest to one, never itself."""
    audio = find_audio(audio_id)
    if audio.status in PENDING_AUDIO:
        code = "awaiting_upload" if audio.status == "awaiting_upload" else "not_finished"
        raise problems.later(409, code, f"The audio is {audio.status}: it has no embedding yet.")
    vector, _ = current_vector(audio)
    identity = identity_of(audio)
    matches = (
        vectors().nearest(audio.tenant, vector, identity, audio.id)
        if only_distinct
        else vectors().query(audio.tenant, vector, identity, k, exclude=[audio.id])
    )
    found = neighbours(matches, audio.tenant, records)
    if only_distinct:
        found = distinct(found, audio)
    return api.reply(200, contract.similar_answer(app.prefix, islice(found, k)))


def pending_embedding(audio: Audio) -> Response:
    """Return the 202 of an embedding that is still to come."""
    links = contract.audio_links(app.prefix, audio.id)
    answer = contract.PendingEmbedding.model_validate(
        {"audio_id": audio.id, "status": audio.status, "progress": audio.progress, "links": links}
    )
    headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS), "Location": links["embedding"]}
    return api.reply(202, answer, headers)


def current_vector(audio: Audio) -> tuple[tuple[float, ...], dict[str, Any]]:
    """Return a finished audio's vector and identity.

    Raises
    ------
    Problem
        409 with the reason if it failed, or if another profile made the vector.
    """
    if audio.status == "failed":
        raise failed(audio)
    if not is_current(audio):
        raise Problem(
            409,
            "stale_embedding",
            f"The embedding was made by {identity_of(audio)}, and profile {settings.profile!r} is now in "
            "force: embed the audio again.",
            links={"embed": f"{app.prefix}/api/audio/{audio.id}/embed"},
        )
    vector = audio.vector or b""
    return struct.unpack(f"<{len(vector) // 4}f", vector), dict(audio.identity or {})


def is_current(audio: Audio) -> bool:
    """Tell whether the profile in force made an audio's embedding."""
    return identity_of(audio) == current_identity.id


def duration_of(audio: Audio) -> float:
    """Return an audio's duration in seconds; of one that is not embedded yet, what it may be at most."""
    if audio.features:
        return float(audio.features["duration"])
    return profiles.longest(audio.size or 0)


def identity_of(audio: Audio) -> str:
    """Return the identity of an audio's embedding, as the index keeps it."""
    return interfaces.Identity(**(audio.identity or {})).id


def failed(audio: Audio) -> Problem:
    """Return the 409 of an audio that could not be embedded."""
    error = audio.error or {}
    return Problem(409, "embedding_failed", str(error["detail"]), reason=error["code"])
