"""Source tracks: list them, show one, delete one."""

from __future__ import annotations

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path

from backend import api, contract, openapi, problems
from backend.purge import purge
from backend.records import Audio
from backend.storage import PREVIEW_TYPE, preview_key, upload_key
from functions.api.service import Cursor, Limit, app, records, storage, vectors

AudioId = Annotated[str, Path(description="Identifier of a source track.")]


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
    items = [contract.audio_answer(app.prefix, audio) for audio in records.contents.all_living(page)]
    return api.reply(200, contract.AudioList(items=items, cursor=following))


@app.get(
    "/api/audio/<audio_id>",
    summary="Show a source track",
    operation_id="getAudio",
    tags=["audio"],
    responses=openapi.answers(404, 410, _200=openapi.document(contract.AudioAnswer, "Its record.")),
)
def get_audio(audio_id: AudioId) -> Response:
    """Show a source track's record, with a link that plays it without a header."""
    audio = find_audio(audio_id)
    answer = audio_answer(audio)
    if audio.status in {"uploaded", "embedding", "ready"}:
        answer.links["play"] = (
            storage()
            .presign_download(
                upload_key(audio.tenant, audio.id),
                filename=audio.filename,
                content_type=audio.content_type,
                disposition="inline",
            )
            .url
        )
    if audio.derived:
        answer.links["play_preview"] = (
            storage()
            .presign_download(
                preview_key(audio.tenant, audio.id, audio.derived["revision"]),
                filename=preview_name(audio),
                content_type=PREVIEW_TYPE,
                disposition="inline",
            )
            .url
        )
    return api.reply(200, answer)


@app.patch(
    "/api/audio/<audio_id>",
    summary="Rename a source track",
    operation_id="renameAudio",
    tags=["audio"],
    responses=openapi.answers(
        400, 404, 410, 413, 422, _200=openapi.document(contract.AudioAnswer, "Its record.")
    ),
)
def rename_audio(audio_id: AudioId, body: Annotated[contract.RenameRequest, Body()]) -> Response:
    """Give a source track another name; lists, maps, neighbours and downloads have it from now on."""
    audio = find_audio(audio_id)
    renamed = records.rename_audio(audio.tenant, audio.id, body.filename)
    return api.reply(200, audio_answer(renamed))


@app.delete(
    "/api/audio/<audio_id>",
    summary="Delete a source track",
    description="Removes the object, the vector and the generations made from it. Of more than twenty "
    "generations, some files go, and stop counting, within minutes; of more than a thousand, some "
    "records, too.",
    operation_id="deleteAudio",
    tags=["audio"],
    responses=openapi.answers(404, 410, _204=openapi.empty("It is gone.")),
)
def delete_audio(audio_id: AudioId) -> Response:
    """Delete a source track and everything made from it."""
    audio = records.bury(find_audio(audio_id))
    purge(audio, records, storage(), vectors())
    return Response(204, body="")


def audio_answer(audio: Audio) -> contract.AudioAnswer:
    """Show a source track's record as it is now."""
    return contract.audio_answer(app.prefix, records.contents.living(audio))


def preview_name(audio: Audio) -> str:
    """Name the preview of a source track after it."""
    return f"{audio.filename.rpartition('.')[0] or audio.filename}.mp3"


def find_audio(audio_id: str) -> Audio:
    """Read the tenant's source track, or raise 404 or 410."""
    audio = records.get_audio(app.tenant, api.identifier(audio_id, "audio"))
    if audio is None or audio.status == "deleted":
        raise problems.not_found("audio")
    if audio.deleted:
        raise problems.gone("audio")
    return audio
