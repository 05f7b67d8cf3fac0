"""Files: the audio of a generation, and a source track as it was uploaded."""

from __future__ import annotations

import re

from aws_lambda_powertools.event_handler import Response

from backend import api, contract, openapi, problems
from backend.problems import Problem
from backend.records import UNFINISHED_GENERATION
from backend.storage import content_disposition, generated_key, upload_key
from functions.api.audio import AudioId, find_audio
from functions.api.generation import GenerationId, await_generation
from functions.api.service import Wait, app, records, storage


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
