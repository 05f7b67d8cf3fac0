"""Candidates in any format, and the choice among them: the requests that may have to encode.

A candidate is kept in flac. What it is encoded into is kept beside it, under a key that follows from
candidate and format, so that nothing is encoded twice: of two requests at once, one finds the other's file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from aws_lambda_powertools.event_handler.openapi.params import Path as PathParameter

from backend import api, contract, openapi, problems
from backend.files import Format, send
from backend.generations import (
    file_key,
    file_name,
    find_generation,
    playable_answer,
    require_kept,
    require_succeeded,
)
from backend.observability import logger
from backend.problems import Problem
from backend.purge import recount
from backend.records import Conflict, Generation, Limits, Records
from backend.settings import Settings
from backend.storage import ObjectMissing, Storage, StoredObject, candidate_key, unpack
from music.audio.decode import decode
from music.audio.encode import encode, read_tags

MAX_SAMPLES = 300 * 48_000 * 2
"""Samples of all channels that are encoded while somebody waits: five minutes in stereo take some 12 s."""

settings = Settings.from_environment()
records = Records.from_settings(settings)
storage = Storage.from_settings(settings)
limits = Limits.from_settings(settings)
app = api.Api(settings)

GenerationId = Annotated[str, PathParameter(description="Identifier of a generation.")]
Number = Annotated[int, PathParameter(ge=0, le=99, description="Index of a candidate.")]


@app.get(
    "/api/download/<generation_id>/<candidate>",
    summary="Download a candidate's audio",
    description="Also the result in another format, as the candidate that is chosen.",
    operation_id="downloadCandidate",
    tags=["generation"],
    responses=openapi.answers(
        404, 409, 410, 412, 413, 416, 422, **openapi.file("The audio.", *contract.CONTENT_TYPES.values())
    ),
)
def download_candidate(generation_id: GenerationId, candidate: Number, format: Format = None) -> Response:
    """Answer a candidate's audio, encoded now if it never was."""
    generation = find_generation(app, records, generation_id)
    require_succeeded(generation)
    require_kept(generation, candidate, records.now())
    extension = format or generation.format
    stored = encoded(generation, candidate, extension)
    name = file_name(generation, records, extension, candidate)
    return send(app, storage, stored, name, contract.CONTENT_TYPES[extension])


@app.patch(
    "/api/generation/<generation_id>",
    summary="Choose among a generation's candidates",
    description="The candidate is the result from now on. Nothing is overwritten: any other that is kept can "
    "be chosen afterwards.",
    operation_id="chooseCandidate",
    tags=["generation"],
    responses=openapi.answers(
        400, 404, 409, 410, 413, 422, _200=openapi.document(contract.GenerationAnswer, "Its record.")
    ),
)
def choose_candidate(
    generation_id: GenerationId, body: Annotated[contract.ChooseRequest, Body()]
) -> Response:
    """Let another candidate be the result, once its file is there in the generation's format."""
    generation = find_generation(app, records, generation_id)
    require_succeeded(generation)
    if body.chosen != generation.chosen:
        require_kept(generation, body.chosen, records.now())
        stored = encoded(generation, body.chosen, generation.format)
        try:
            report = report_of(generation, body.chosen)
            generation = records.choose(generation, body.chosen, stored.size, report)
        except Conflict as conflict:
            if conflict.status == "expired":
                raise problems.gone("candidate") from None
            raise
    return api.reply(200, playable_answer(app, records, storage, generation))


def encoded(generation: Generation, candidate: int, extension: str) -> StoredObject:
    """Return a candidate's file in a format, and make it if it is not there.

    Raises
    ------
    Problem
        404: the generation was deleted meanwhile. 410: it is not kept any more. 413: it is too long.
    LimitReached
        The tenant has no room for another file.
    """
    key = file_key(generation, candidate, extension)
    if stored := storage.head(key):
        return stored
    if not generation.has_candidates(records.now()) or key.startswith("generated/"):
        raise problems.gone("candidate")
    if limits:
        records.usage.require_room(generation.tenant, limits)
    result = generation.result or {}
    samples = result["duration"] * max(result["sample_rate"], 48_000) * result["channels"]
    if samples > MAX_SAMPLES:
        raise Problem(
            413, "too_long", f"{result['duration']:g} s of music are too long to encode while you wait."
        )
    audio = transcoded(generation, candidate, extension)
    storage.put(key, audio, contract.CONTENT_TYPES[extension])
    recount(generation, records, storage)
    try:
        find_generation(app, records, generation.id)
    except Problem:
        storage.delete(key)  # whoever deleted the generation may have been faster than this file
        raise
    stored = storage.head(key)
    if stored is None:
        raise problems.gone("candidate")
    return stored


def report_of(generation: Generation, candidate: int) -> dict[str, Any] | None:
    """Read what is told of a candidate alone: None of the best, whose report the record has."""
    if candidate == generation.best:
        return None
    kept = storage.head(candidate_key(generation.tenant, generation.id, candidate, "flac"))
    return unpack(kept.metadata["result"]) if kept and "result" in kept.metadata else None


def transcoded(generation: Generation, candidate: int, extension: str) -> bytes:
    """Encode a candidate's flac in another format, with the same tags."""
    source = candidate_key(generation.tenant, generation.id, candidate, "flac")
    result = generation.result or {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate"
        try:
            with path.open("wb") as file:
                storage.download(source, file)
        except ObjectMissing:
            raise problems.gone("candidate") from None
        audio = decode(path, rate=result["sample_rate"], channels=result["channels"])
        tags = read_tags(path)
    logger.info("encoding", extra={"generation": generation.id, "candidate": candidate, "format": extension})
    deep = extension in {"wav", "flac"} and (generation.parameters or {}).get("bit_depth", 16) == 24
    return encode(audio, result["sample_rate"], extension, tags, bit_depth=24 if deep else 16)


handler = app.handler()
