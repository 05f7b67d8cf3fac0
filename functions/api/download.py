"""Files: the audio of a generation, a source track as it was uploaded, and what a player needs of it."""

from __future__ import annotations

from aws_lambda_powertools.event_handler import Response

from backend import api, contract, openapi, problems
from backend.files import Format, send
from backend.generations import file_key, file_name, require_succeeded
from backend.problems import Problem
from backend.records import PENDING_AUDIO, Audio
from backend.storage import (
    PREVIEW_TYPE,
    ObjectMissing,
    analysis_key,
    preview_key,
    upload_key,
)
from functions.api.audio import AudioId, find_audio, preview_name
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
        412,
        416,
        422,
        **openapi.file("The audio.", *contract.CONTENT_TYPES.values()),
    ),
)
def download(generation_id: GenerationId, wait: Wait = 20, format: Format = None) -> Response:
    """Answer the audio as soon as it is finished; in another format it has another address."""
    generation = await_generation(generation_id, wait)
    require_succeeded(generation)
    if format not in (None, generation.format):
        candidate = generation.best if generation.chosen is None else generation.chosen
        if candidate is None:
            raise problems.gone("candidate")
        path = f"{app.prefix}/api/download/{generation.id}/{candidate}"
        return api.redirect(f"{path}?format={format}")
    key = file_key(generation, generation.chosen, generation.format)
    stored = storage().head(key)
    if stored is None:
        raise problems.gone("generation")
    name = file_name(generation, records, generation.format)
    return send(app, storage(), stored, name, contract.CONTENT_TYPES[generation.format])


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
    return send(app, storage(), stored, audio.filename, audio.content_type)


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
    return send(app, storage(), stored, preview_name(audio), PREVIEW_TYPE)


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
