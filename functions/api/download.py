"""Files: the audio of a generation, and a source track as it was uploaded.

Both are answered as RFC 9110 describes files: with an `ETag`, in ranges, and under conditions. What is too
large for an answer of the API is read straight from the bucket, at a presigned URL.
"""

from __future__ import annotations

from aws_lambda_powertools.event_handler import Response

from backend import api, contract, openapi, problems, representation
from backend.problems import Problem
from backend.records import PENDING_AUDIO, UNFINISHED_GENERATION, Audio
from backend.storage import (
    PREVIEW_TYPE,
    ObjectMissing,
    StoredObject,
    analysis_key,
    content_disposition,
    generated_key,
    preview_key,
    upload_key,
)
from functions.api.audio import AudioId, find_audio, preview_name
from functions.api.generation import GenerationId, await_generation, generation_name
from functions.api.service import Wait, app, storage


@app.get(
    "/api/download/<generation_id>",
    summary="Download a generation's audio",
    operation_id="download",
    tags=["generation"],
    responses=openapi.answers(
        404,
        409,
        410,
        412,
        416,
        422,
        **openapi.file("The audio.", *contract.CONTENT_TYPES.values()),
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
    return send(stored, generation_name(generation), contract.CONTENT_TYPES[extension])


@app.get(
    "/api/audio/<audio_id>/content",
    summary="Give a source track back",
    operation_id="getAudioContent",
    tags=["audio"],
    responses=openapi.answers(
        404,
        409,
        410,
        412,
        416,
        **openapi.file("The file as it was uploaded.", "audio/*"),
    ),
)
def get_audio_content(audio_id: AudioId) -> Response:
    """Answer the uploaded file."""
    audio = find_audio(audio_id)
    stored = storage().head(upload_key(audio.tenant, audio.id))
    if stored is None:
        raise problems.later(409, "awaiting_upload", "The file has not been uploaded.")
    return send(stored, audio.filename, audio.content_type)


@app.get(
    "/api/audio/<audio_id>/preview",
    summary="Play a source track",
    description="As an mp3, whatever was uploaded.",
    operation_id="getAudioPreview",
    tags=["audio"],
    responses=openapi.answers(404, 409, 410, 412, 416, **openapi.file("The preview.", PREVIEW_TYPE)),
)
def get_audio_preview(audio_id: AudioId) -> Response:
    """Answer the track as an mp3 that every browser plays."""
    audio = find_audio(audio_id)
    stored = storage().head(preview_key(audio.tenant, audio.id, derived_revision(audio)))
    if stored is None:
        raise no_preview()
    return send(stored, preview_name(audio), PREVIEW_TYPE)


@app.get(
    "/api/audio/<audio_id>/analysis",
    summary="Show what a player needs of a source track",
    description="Peaks to draw a waveform by, beats, and how the harmony goes.",
    operation_id="getAudioAnalysis",
    tags=["audio"],
    responses=openapi.answers(
        404, 409, 410, _200=openapi.document(contract.AudioAnalysis, "What was measured.")
    ),
)
def get_audio_analysis(audio_id: AudioId) -> Response:
    """Answer the document that the embedding left."""
    audio = find_audio(audio_id)
    try:
        document = storage().read(analysis_key(audio.tenant, audio.id, derived_revision(audio)))
    except ObjectMissing:
        raise no_preview() from None
    return api.text(200, "application/json", document.decode())


def derived_revision(audio: Audio) -> str:
    """Return the revision of what was derived from an audio.

    Raises
    ------
    Problem
        404: it was embedded before there was any, or cannot be; 409: it is still to be embedded.
    """
    if audio.derived:
        return str(audio.derived["revision"])
    if audio.status in PENDING_AUDIO:
        raise problems.later(409, "not_finished", f"The audio is {audio.status}: it has no preview yet.")
    raise no_preview()


def no_preview() -> Problem:
    """Return the 404 of a track without a preview."""
    return Problem(404, "no_preview", "This track has no preview: embed it again to get one.")


def send(stored: StoredObject, filename: str, content_type: str) -> Response:
    """Answer an object, or the part of it that is asked for: inline if it fits, else at a presigned URL."""
    asked = {name.lower(): value for name, value in app.current_event.headers.items()}
    if representation.prefers_json(asked.get("accept", "")):
        signed = storage().presign_download(stored.key, filename=filename, content_type=content_type)
        return api.reply(200, contract.Location(url=signed.url, expires_at=signed.expires_at))
    status, part = representation.select(app.method, asked, stored.etag, stored.size)
    if status == 412:
        raise Problem(412, "precondition_failed", f"The file is {stored.etag}, none that If-Match names.")
    headers = {"ETag": stored.etag, "Cache-Control": "no-store", "Accept-Ranges": "bytes"}
    if status == 304:
        return Response(304, body="", headers=dict(headers))
    if stored.size > contract.INLINE_BYTES:
        signed = storage().presign_download(
            stored.key, filename=filename, content_type=content_type, method=app.method
        )
        return api.redirect(signed.url)
    if status == 416:
        headers = {"Content-Range": f"bytes */{stored.size}"}
        raise Problem(416, "range_not_satisfiable", f"The file has {stored.size} bytes.", headers=headers)
    headers |= {"Content-Disposition": content_disposition(filename)}
    if status == 206:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
    if app.method == "HEAD":
        headers["Content-Length"] = str(len(part))
        return Response(status, content_type, b"", headers=dict(headers))
    content = storage().read(stored.key, stored.etag, part) if part else b""
    return Response(status, content_type, content, headers=dict(headers))
