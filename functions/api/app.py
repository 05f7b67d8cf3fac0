"""Every route of the API but the upload: what there is, what becomes of it, and new work for the workers."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import struct
from functools import cache
from html import escape
from pathlib import Path as File
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Path, Query
from botocore.exceptions import BotoCoreError, ClientError

from backend import api, contract, openapi, problems
from backend.observability import logger
from backend.problems import Problem
from backend.purge import purge
from backend.queues import Queues
from backend.records import (
    PENDING_AUDIO,
    UNFINISHED_GENERATION,
    Audio,
    Conflict,
    Generation,
    Limits,
    Records,
)
from backend.settings import DEFAULT_TENANT, Settings, table
from backend.storage import Storage, content_disposition, generated_key, upload_key
from backend.vectors import Vectors, neighbours
from music import interfaces, profiles

settings = Settings.from_environment()
records = Records(table(settings.table_name), settings.retention_seconds)
queues = Queues.from_settings(settings)
app = api.Api(settings)
current_identity = profiles.identity(settings.profile)
limits = Limits.from_settings(settings)

AudioId = Annotated[str, Path(description="Identifier of a source track.")]
GenerationId = Annotated[str, Path(description="Identifier of a generation.")]
Cursor = Annotated[str | None, Query(max_length=200, description="From the page before.")]
Limit = Annotated[int, Query(ge=1, le=100, description="Items on a page.")]
Wait = Annotated[
    float,
    Query(ge=0, le=contract.MAX_WAIT_SECONDS, description="Answer at the latest after so many seconds."),
]
NO_WISHES = contract.GenerateRequest()
LOCATION = {"Location": {"schema": {"type": "string"}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}


# Clients that few requests need are made when the first one does: a cold start should not pay for them.
@cache
def storage() -> Storage:
    """The bucket."""
    return Storage.from_settings(settings)


@cache
def vectors() -> Vectors:
    """The index of embeddings."""
    return Vectors.from_settings(settings)


# -- source tracks -----------------------------------------------------------------------------------------


@app.get(
    "/api/audio",
    summary="List source tracks",
    operation_id="listAudio",
    tags=["audio"],
    responses=openapi.answers(422, _200=openapi.document(contract.AudioList, "A page, newest first.")),
)
def list_audio(cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the tenant's source tracks."""
    try:
        page, following = records.list_audio(app.tenant, cursor, limit)
    except ValueError as error:
        raise problems.invalid("cursor", "Not a cursor of this list") from error
    items = [contract.audio_answer(app.prefix, audio) for audio in page]
    return api.reply(200, contract.AudioList(items=items, cursor=following))


@app.get(
    "/api/audio/<audio_id>",
    summary="Show a source track",
    operation_id="getAudio",
    tags=["audio"],
    responses=openapi.answers(404, 410, _200=openapi.document(contract.AudioAnswer, "Its record.")),
)
def get_audio(audio_id: AudioId) -> Response:
    """Show a source track's record."""
    return api.reply(200, contract.audio_answer(app.prefix, find_audio(audio_id)))


@app.delete(
    "/api/audio/<audio_id>",
    summary="Delete a source track",
    description="Removes the object, the vector and the generations made from it.",
    operation_id="deleteAudio",
    tags=["audio"],
    responses=openapi.answers(404, 410, _204=openapi.empty("It is gone.")),
)
def delete_audio(audio_id: AudioId) -> Response:
    """Delete a source track and everything made from it."""
    audio = records.bury(find_audio(audio_id))
    purge(audio, records, storage(), vectors())
    return Response(204, body="")


@app.get(
    "/api/audio/<audio_id>/content",
    summary="Give a source track back",
    operation_id="getAudioContent",
    tags=["audio"],
    responses=openapi.answers(
        404,
        409,
        410,
        _200=openapi.binary("The file as it was uploaded.", "audio/*", "application/octet-stream"),
        _302=openapi.empty("It is too large to be answered inline: get it there.", "Location"),
    ),
)
def get_audio_content(audio_id: AudioId) -> Response:
    """Answer the uploaded file."""
    audio = find_audio(audio_id)
    key = upload_key(audio.tenant, audio.id)
    stored = storage().head(key)
    if stored is None:
        raise problems.later(409, "awaiting_upload", "The file has not been uploaded.")
    return send(key, stored.size, audio.filename, audio.content_type)


@app.post(
    "/api/audio/<audio_id>/embed",
    summary="Embed a source track again",
    description="After a change of the deployment's profile: until then its embedding is stale.",
    operation_id="embedAgain",
    tags=["embedding"],
    responses=openapi.answers(
        404,
        409,
        410,
        _202=openapi.document(
            contract.PendingEmbedding, "It will be embedded.", headers={**LOCATION, **RETRY_AFTER}
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
            audio = records.embed_again(audio.tenant, audio.id)
        except Conflict:  # another request was faster
            audio = find_audio(audio_id)
        else:
            queues.send_embed(audio.tenant, audio.id, app.correlation_id)
    return pending_embedding(audio)


# -- embeddings --------------------------------------------------------------------------------------------


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
            contract.PendingEmbedding, "Not ready yet: ask again.", headers={**LOCATION, **RETRY_AFTER}
        ),
    ),
)
def get_embedding(audio_id: AudioId, wait: Wait = 20) -> Response:
    """Answer the embedding as soon as it is ready."""
    audio = app.poll(lambda: find_audio(audio_id), lambda found: found.status not in PENDING_AUDIO, wait)
    if audio.status in PENDING_AUDIO:
        return pending_embedding(audio)
    vector, identity = current_vector(audio)
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


@app.get(
    "/api/similar/<audio_id>",
    summary="Find similar source tracks",
    operation_id="getSimilar",
    tags=["embedding"],
    responses=openapi.answers(404, 409, 410, 422, _200=openapi.document(contract.Similar, "Best first.")),
)
def get_similar(
    audio_id: AudioId, k: Annotated[int, Query(ge=1, le=100, description="How many.")] = 10
) -> Response:
    """Answer the tracks nearest to one, never itself."""
    audio = find_audio(audio_id)
    if audio.status in PENDING_AUDIO:
        code = "awaiting_upload" if audio.status == "awaiting_upload" else "not_finished"
        raise problems.later(409, code, f"The audio is {audio.status}: it has no embedding yet.")
    vector, _ = current_vector(audio)
    matches = vectors().query(audio.tenant, vector, identity_of(audio), k, exclude=audio.id)
    return api.reply(200, contract.similar_answer(app.prefix, neighbours(matches, audio.tenant, records)))


# -- generations -------------------------------------------------------------------------------------------


@app.post(
    "/api/generate/<audio_id>",
    summary="Generate music like a source track",
    description="Accepted before the embedding is ready. An empty body means every default.",
    operation_id="generate",
    tags=["generation"],
    responses=openapi.answers(
        400,
        404,
        409,
        410,
        413,
        422,
        _202=openapi.document(
            contract.GenerationAnswer,
            "Accepted.",
            headers={**LOCATION, "Idempotent-Replayed": openapi.HEADER},
        ),
    ),
)
def generate(
    audio_id: AudioId,
    body: Annotated[contract.GenerateRequest, Body()] = NO_WISHES,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Makes it safe to send the same request again.",
        ),
    ] = None,
) -> Response:
    """Record the request and queue it, or let it wait for the embedding."""
    generation, idempotency = None, None
    if idempotency_key is not None:
        request = json.dumps({"audio_id": audio_id, **body.model_dump()}, sort_keys=True)
        idempotency = (_sha256(idempotency_key), _sha256(request))
        # Before anything is judged: the first answer holds, whatever became of the audio or the deployment.
        generation = records.replay(app.tenant, idempotency)
    if generation is None:
        generation = submit(audio_id, body, idempotency)
    if generation.deleted:  # the replay of one that was removed since
        expired = generation.status == "expired"
        raise problems.gone("generation") if expired else problems.not_found("generation")
    if generation.status == "queued" and not generation.replayed:
        queues.send_generate(generation.tenant, generation.id, app.correlation_id)
    answer = contract.generation_answer(app.prefix, generation)
    headers = {"Location": answer.links["self"]}
    return api.reply(202, answer, headers | ({"Idempotent-Replayed": "true"} if generation.replayed else {}))


def submit(audio_id: str, body: contract.GenerateRequest, idempotency: tuple[str, str] | None) -> Generation:
    """Record a request that this deployment can serve, or raise why it cannot."""
    audio = find_audio(audio_id)
    check_support(body)
    if audio.status == "ready":
        current_vector(audio)
    parameters = body.model_dump()
    if parameters["seed"] is None:
        parameters["seed"] = secrets.randbelow(2**32)
    try:
        return records.submit_generation(
            audio.tenant,
            audio.id,
            profile=settings.profile,
            parameters=parameters,
            correlation_id=app.correlation_id,
            idempotency=idempotency,
            limits=limits,
        )
    except Conflict as error:
        if error.status != "failed":
            raise
        raise failed(find_audio(audio_id)) from error


@app.get(
    "/api/generation",
    summary="List generations",
    operation_id="listGenerations",
    tags=["generation"],
    responses=openapi.answers(422, _200=openapi.document(contract.GenerationList, "A page, newest first.")),
)
def list_generations(
    audio_id: Annotated[str | None, Query(max_length=64, description="Only those made from it.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the tenant's generations, or those of one source track."""
    try:
        page, following = records.list_generations(app.tenant, audio_id, cursor, limit)
    except ValueError as error:
        raise problems.invalid("cursor", "Not a cursor of this list") from error
    items = [contract.generation_answer(app.prefix, generation) for generation in page]
    return api.reply(200, contract.GenerationList(items=items, cursor=following))


@app.get(
    "/api/generation/<generation_id>",
    summary="Show a generation",
    operation_id="getGeneration",
    tags=["generation"],
    responses=openapi.answers(
        404,
        410,
        422,
        _200=openapi.document(
            contract.GenerationAnswer, "Its record; `Retry-After` until it is finished.", headers=RETRY_AFTER
        ),
    ),
)
def get_generation(generation_id: GenerationId, wait: Wait = 0) -> Response:
    """Show a generation's record, after waiting for its end if asked to."""
    generation = await_generation(generation_id, wait)
    unfinished = generation.status in UNFINISHED_GENERATION
    headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)} if unfinished else {}
    return api.reply(200, contract.generation_answer(app.prefix, generation), headers)


@app.delete(
    "/api/generation/<generation_id>",
    summary="Cancel or remove a generation",
    operation_id="deleteGeneration",
    tags=["generation"],
    responses=openapi.answers(
        404,
        410,
        _202=openapi.document(contract.GenerationAnswer, "It was unfinished and is cancelled."),
        _204=openapi.empty("It was finished and is gone."),
    ),
)
def delete_generation(generation_id: GenerationId) -> Response:
    """Cancel what is not finished; remove what is."""
    generation = find_generation(generation_id)
    if generation.status in UNFINISHED_GENERATION:
        try:
            cancelled = records.cancel_generation(generation.tenant, generation.id)
        except Conflict:
            pass  # it finished at this moment
        else:
            return api.reply(202, contract.generation_answer(app.prefix, cancelled))
    purge(records.bury(generation), records, storage(), vectors())
    return Response(204, body="")


@app.get(
    "/api/download/<generation_id>",
    summary="Download a generation's audio",
    operation_id="download",
    tags=["generation"],
    responses=openapi.answers(
        404,
        409,
        410,
        422,
        _200=openapi.binary("The audio.", *contract.CONTENT_TYPES.values()),
        _302=openapi.empty("It is too large to be answered inline: get it there.", "Location"),
    ),
)
def download(generation_id: GenerationId, wait: Wait = 20) -> Response:
    """Answer the audio as soon as it is finished."""
    generation = await_generation(generation_id, wait)
    if generation.status in UNFINISHED_GENERATION:
        raise problems.later(
            409,
            "not_finished",
            f"The generation is {generation.status}: try again.",
            progress=generation.progress,
        )
    if generation.status == "cancelled":
        raise Problem(409, "cancelled", "The generation was cancelled.")
    if generation.status == "failed":
        error = generation.error or {}
        raise Problem(409, error["code"], error["detail"])
    extension = (generation.parameters or {})["format"]
    key = generated_key(generation.tenant, generation.id, extension)
    stored = storage().head(key)
    if stored is None:
        raise problems.gone("generation")
    source = records.get_audio(generation.tenant, generation.audio_id)
    name = output_name(source.filename if source else "", generation.id, extension)
    return send(key, stored.size, name, contract.CONTENT_TYPES[extension])


# -- the service itself ------------------------------------------------------------------------------------


@app.get(
    "/api/health",
    summary="Is the service well?",
    operation_id="health",
    tags=["service"],
    responses=openapi.answers(503, key=False, _200=openapi.document(contract.Health, "It is.")),
)
def health() -> Response:
    """Answer whether the table can be reached."""
    try:
        records.get_audio(DEFAULT_TENANT, "0" * 26)
    except (BotoCoreError, ClientError) as error:
        logger.exception("table unreachable")
        raise problems.later(503, "unavailable", "The table cannot be reached.") from error
    return api.reply(200, contract.Health(status="ok", version=contract.VERSION, profile=settings.profile))


@app.get(
    "/api/openapi.json",
    summary="This description",
    operation_id="openapi",
    tags=["service"],
    responses=openapi.answers(
        key=False,
        _200={"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
    ),
)
def describe() -> Response:
    """Answer the contract, with this deployment's address in it."""
    described = json.loads(File(contract.__file__).with_name("openapi.json").read_bytes())
    described["servers"] = [{"url": app.prefix or "/"}]
    if settings.auth_mode == "none":
        for operations in described["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
    return Response(200, "application/json", json.dumps(described, ensure_ascii=False))


@app.get(
    "/",
    summary="The web page",
    operation_id="page",
    tags=["service"],
    responses=openapi.answers(
        key=False,
        _200={"description": "A page for people.", "content": {"text/html": {"schema": {"type": "string"}}}},
    ),
)
def page() -> Response:
    """Answer a page that says where the API is."""
    # What falls back to `default-src` is closed by it; the others have to be named.
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
    policy += "form-action 'none'"
    headers = {"Content-Security-Policy": policy}
    return Response(
        200, "text/html; charset=utf-8", PAGE.replace("{prefix}", escape(app.prefix)), headers=dict(headers)
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Music generation</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }</style>
<h1>Music generation</h1>
<p>Upload a track, get its embedding, generate new music like it.</p>
<p>The API is described in <a href="{prefix}/api/openapi.json">openapi.json</a>;
<a href="{prefix}/api/health">its health</a>.</p>
</html>
"""


# -- what the routes share ---------------------------------------------------------------------------------


def find_audio(audio_id: str) -> Audio:
    """Read the tenant's source track, or raise 404 or 410."""
    audio = records.get_audio(app.tenant, api.identifier(audio_id, "audio"))
    if audio is None or audio.status == "deleted":
        raise problems.not_found("audio")
    if audio.deleted:
        raise problems.gone("audio")
    return audio


def find_generation(generation_id: str) -> Generation:
    """Read the tenant's generation, or raise 404 or 410."""
    generation = records.get_generation(app.tenant, api.identifier(generation_id, "generation"))
    if generation is None or generation.status == "deleted":
        raise problems.not_found("generation")
    if generation.deleted:
        raise problems.gone("generation")
    return generation


def await_generation(generation_id: str, wait: float) -> Generation:
    """Read a generation until it is finished, for `wait` seconds at most."""
    return app.poll(
        lambda: find_generation(generation_id), lambda found: found.status not in UNFINISHED_GENERATION, wait
    )


def pending_embedding(audio: Audio) -> Response:
    """The 202 of an embedding that is still to come."""
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
    if identity_of(audio) != current_identity.id:
        raise Problem(
            409,
            "stale_embedding",
            f"The embedding was made by {identity_of(audio)}, and profile {settings.profile!r} is now in "
            "force: embed the audio again.",
            links={"embed": f"{app.prefix}/api/audio/{audio.id}/embed"},
        )
    vector = audio.vector or b""
    return struct.unpack(f"<{len(vector) // 4}f", vector), dict(audio.identity or {})


def identity_of(audio: Audio) -> str:
    """The identity of an audio's embedding, as the index keeps it."""
    return interfaces.Identity(**(audio.identity or {})).id


def failed(audio: Audio) -> Problem:
    """The 409 of an audio that could not be embedded."""
    error = audio.error or {}
    return Problem(409, "embedding_failed", str(error["detail"]), reason=error["code"])


def check_support(request: contract.GenerateRequest) -> None:
    """Refuse what the deployment's profile cannot do, naming the profiles that can."""
    own = profiles.DECLARED[settings.profile]
    if request.mode not in own.modes:
        able = [name for name, declared in profiles.DECLARED.items() if request.mode in declared.modes]
        raise problems.unsupported(settings.profile, f"Mode {request.mode!r}", able, field="mode")
    if request.prompt is not None and not own.text:
        able = [name for name, declared in profiles.DECLARED.items() if declared.text]
        raise problems.unsupported(settings.profile, "A prompt", able, field="prompt")
    total = request.duration * request.candidates
    for what, asked, limit, field in (
        (f"A duration of {request.duration:g} s", request.duration, "max_duration", "duration"),
        (f"{request.candidates} candidates of {request.duration:g} s", total, "max_total", "candidates"),
    ):
        if asked > getattr(own, limit):
            able = [name for name, declared in profiles.DECLARED.items() if asked <= getattr(declared, limit)]
            raise problems.unsupported(settings.profile, what, able, field=field)


def send(key: str, size: int, filename: str, content_type: str) -> Response:
    """Answer an object inline if it fits, else redirect to it."""
    if size > contract.INLINE_BYTES:
        return api.redirect(storage().presign_download(key, filename=filename, content_type=content_type))
    headers = {"Content-Disposition": content_disposition(filename), "Cache-Control": "private, max-age=300"}
    return Response(200, content_type, storage().read(key), headers=dict(headers))


def output_name(source: str, generation_id: str, extension: str) -> str:
    """Name a generation's file after its source.

    Examples
    --------
    >>> output_name("live/your_music.mp3", "01JZ8QB1T5G2H4J6K8M0N3P5Q7", "wav")
    'your_music-0N3P5Q7.wav'
    """
    stem = re.split(r"[/\\]", source)[-1]
    stem = (stem.rpartition(".")[0] or stem)[:100].strip(" .") or "music"
    return f"{stem}-{generation_id[-7:]}.{extension}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


handler = app.handler()
