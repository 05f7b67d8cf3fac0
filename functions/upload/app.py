"""Tracks come in: small files with their request, any file straight to the bucket, music made here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import shlex
import time
from contextlib import suppress
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from backend import api, contract, openapi, problems
from backend.generations import file_key, file_name, find_generation, require_kept, require_succeeded
from backend.problems import Problem
from backend.records import Audio, Charge, Conflict, Limits, NotFound, Records, new_id
from backend.settings import MAX_UPLOAD_BYTES, Settings
from backend.storage import (
    UPLOAD_SECONDS,
    ObjectMissing,
    Storage,
    candidate_key,
    upload_key,
    without_hidden_characters,
)
from music import profiles

settings = Settings.from_environment()
records = Records.from_settings(settings)
storage = Storage.from_settings(settings)
limits = Limits.from_settings(settings)
costs = profiles.DECLARED[settings.profile].costs
app = api.Api(settings, multipart={"/api/upload"})

GENERIC = "application/octet-stream"
# What browsers and operating systems call the containers that may hold nothing but sound.
CONTAINERS = {
    *("application/mp4", "application/ogg", "application/x-flac"),
    *("video/3gpp", "video/mp4", "video/ogg", "video/quicktime", "video/webm"),
    "video/x-matroska",
}
BY_EXTENSION = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "oga": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "aifc": "audio/aiff",
    "webm": "audio/webm",
    "mka": "audio/x-matroska",
}


class File(NamedTuple):
    """An uploaded file as the client describes it."""

    filename: str
    content_type: str
    content: bytes


@app.post(
    "/api/upload",
    summary="Upload a track",
    description="A file of up to about 4.5 MB as multipart field `file`. For any other, describe it in JSON: "
    "the answer allows one upload straight to the bucket (a POST of `fields` and then `file` to `url`).",
    operation_id="upload",
    tags=["audio"],
    openapi_extensions={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": {"type": "string", "format": "binary", "minLength": 1}},
                        "required": ["file"],
                    }
                },
                "application/json": {
                    "schema": contract.DirectUploadRequest.model_json_schema(),
                    "examples": {
                        "large": {
                            "value": {
                                "filename": "song.flac",
                                "bytes": 31_457_280,
                                "content_type": "audio/flac",
                            }
                        }
                    },
                },
            },
        }
    },
    responses=openapi.answers(
        400,
        413,
        415,
        422,
        _200=openapi.document(contract.Uploaded, "Your track that has the content of this `sha256`."),
        _201={
            "description": "Uploaded, or a presigned upload.",
            "content": {
                "application/json": {"model": contract.Uploaded | contract.AwaitingUpload},
            },
            "headers": {"Location": openapi.HEADER, "Idempotent-Replayed": openapi.HEADER},
        },
    ),
)
def upload(idempotency_key: api.IdempotencyKey = None) -> Response:
    """Take the file, or allow its direct upload."""
    content_type = app.current_event.headers.get("content-type", "")
    if content_type.strip().lower().startswith("multipart/"):
        return store(read_file(content_type), idempotency_key)
    try:
        body = app.current_event.json_body
    except Problem as problem:
        guidance = " Send the file as multipart field `file`, or JSON with its filename and bytes."
        raise Problem(problem.status, problem.code, problem.detail + guidance) from problem
    return allow(api.validate(contract.DirectUploadRequest, body or {}), idempotency_key)


def store(file: File, idempotency_key: str | None) -> Response:
    """Store an uploaded file: the record first, so that the bucket's event finds it."""
    kind = audio_type(file.content_type, file.filename)
    sha256 = hashlib.sha256(file.content).hexdigest()
    request = {"filename": file.filename, "content_type": kind, "sha256": sha256}
    idempotency = api.idempotency(idempotency_key, request)
    audio = records.replays.find(Audio, app.tenant, idempotency) if idempotency else None
    if audio is None:
        charge = Charge(*costs.embedding_of(len(file.content)))
        audio = recorded(file.filename, file.content, kind, charge, idempotency)
    check_alive(audio)
    return place(audio, file.content, kind)


@app.post(
    "/api/audio",
    summary="Make a source track of a generation",
    description="The track is a copy, and is embedded like an upload. It outlives the generation.",
    operation_id="copyGeneration",
    tags=["audio"],
    responses=openapi.answers(
        400,
        404,
        409,
        410,
        413,
        422,
        _201=openapi.document(
            contract.Uploaded,
            "Copied.",
            headers={"Location": openapi.HEADER, "Idempotent-Replayed": openapi.HEADER},
        ),
    ),
)
def copy_generation(
    body: Annotated[contract.CopyRequest, Body()], idempotency_key: api.IdempotencyKey = None
) -> Response:
    """Copy a generation's result, or another of its candidates, to where uploads are."""
    idempotency = api.idempotency(idempotency_key, body.model_dump())
    audio = records.replays.find(Audio, app.tenant, idempotency) if idempotency else None
    if audio is not None:
        check_alive(audio)
        if audio.status != "awaiting_upload":
            return uploaded(201, audio, audio.size, audio.content_type)
    generation = find_generation(app, records, body.generation_id)
    require_succeeded(generation)
    candidate = generation.chosen if body.candidate is None else body.candidate
    if candidate is not None:
        require_kept(generation, candidate, records.now())
    # Without loss while that is kept.
    flac = candidate is not None and generation.has_candidates(records.now())
    extension = "flac" if flac else generation.format
    try:
        content = storage.read(
            candidate_key(generation.tenant, generation.id, candidate, "flac")
            if flac and candidate is not None
            else file_key(generation, candidate, extension)
        )
    except ObjectMissing:
        raise problems.gone("candidate" if flac else "generation") from None
    kind = contract.CONTENT_TYPES[extension]
    if audio is None:
        charge = Charge(*costs.embedding((generation.result or {})["duration"]))
        name = file_name(generation, records, extension, body.candidate)
        audio = recorded(name, content, kind, charge, idempotency, made_from=(generation.id, candidate))
        check_alive(audio)
    return place(audio, content, kind)


def recorded(
    filename: str,
    content: bytes,
    kind: str,
    charge: Charge,
    idempotency: tuple[str, str] | None,
    made_from: tuple[str, int | None] | None = None,
) -> Audio:
    """Record a track whose content is here."""
    sha256, audio_id = hashlib.sha256(content).hexdigest(), new_id()
    if limits:
        # Nothing is noted for who has used up what he may; the record's own write judges again.
        records.usage.check(Audio, app.tenant, len(content), charge, limits)
    return records.create_audio(
        app.tenant,
        audio_id=audio_id,
        filename=filename,
        content_type=kind,
        size=len(content),
        upload_expires_at=time.time() + UPLOAD_SECONDS,
        correlation_id=app.correlation_id,
        limits=limits,
        sha256=sha256,
        duplicate_of=records.contents.note(app.tenant, audio_id, sha256),
        idempotency=idempotency,
        made_from=made_from,
        charge=charge,
    )


def place(audio: Audio, content: bytes, kind: str) -> Response:
    """Put a recorded track where uploads are, and answer that it is there."""
    # A first request may have died between record and object: its repetition goes on from there.
    key = upload_key(audio.tenant, audio.id)
    etag = storage.put(key, content, kind) if audio.status == "awaiting_upload" else None
    if etag:
        with suppress(Conflict, NotFound):  # the event was faster: the record is further on its way
            records.mark_uploaded(audio.tenant, audio.id, etag=etag, size=len(content))
    return uploaded(201, audio, len(content), kind)


def uploaded(status: int, audio: Audio, size: int | None, kind: str) -> Response:
    """Answer that a file is there."""
    audio = records.contents.living(audio)
    links = contract.audio_links(app.prefix, audio.id)
    answer = contract.Uploaded.model_validate(
        {
            "audio_id": audio.id,
            "status": "uploaded",
            "filename": audio.filename,
            "bytes": size,
            "content_type": kind,
            **contract.duplicate(audio),
            "links": links,
        }
    )
    return api.reply(status, answer, {"Location": links["self"], **api.replayed(audio)})


def check_alive(audio: Audio) -> None:
    """Raise 404 or 410 where an audio, the first answer to an idempotency key, was removed since."""
    if audio.deleted:
        raise problems.gone("audio") if audio.status == "expired" else problems.not_found("audio")


def allow(request: contract.DirectUploadRequest, idempotency_key: str | None) -> Response:
    """Allow exactly this file to be posted straight to the bucket."""
    if request.bytes > MAX_UPLOAD_BYTES:
        raise Problem(
            413, "too_large", f"The largest file is {MAX_UPLOAD_BYTES} bytes.", max_bytes=MAX_UPLOAD_BYTES
        )
    kind = audio_type(request.content_type, request.filename)
    idempotency = api.idempotency(idempotency_key, request.model_dump(exclude_none=True))
    audio = records.replays.find(Audio, app.tenant, idempotency) if idempotency else None
    if audio is None:
        if request.sha256 and (there := records.contents.find(app.tenant, request.sha256)):
            return uploaded(200, there, there.size, there.content_type)
        audio = records.create_audio(
            app.tenant,
            filename=request.filename,
            content_type=kind,
            size=request.bytes,
            upload_expires_at=time.time() + UPLOAD_SECONDS,
            correlation_id=app.correlation_id,
            limits=limits,
            idempotency=idempotency,
            charge=Charge(*costs.embedding_of(request.bytes)),
        )
    check_alive(audio)
    if audio.status != "awaiting_upload":  # the repetition of a request whose file has come since
        return uploaded(201, audio, request.bytes, kind)
    signed = storage.presign_upload(
        upload_key(audio.tenant, audio.id),
        content_type=kind,
        min_bytes=request.bytes,
        max_bytes=request.bytes,
    )
    links = contract.audio_links(app.prefix, audio.id)
    answer = contract.AwaitingUpload(
        audio_id=audio.id,
        status="awaiting_upload",
        filename=audio.filename,
        bytes=request.bytes,
        content_type=kind,
        upload=contract.DirectUpload(url=signed.url, fields=signed.fields, expires_at=signed.expires_at),
        links=links,
    )
    return api.reply(201, answer, {"Location": links["self"], **api.replayed(audio)})


def read_file(content_type: str) -> File:
    """Read the field `file` of a multipart body.

    Powertools' own parser cuts at the boundary wherever it occurs and stumbles over quotes in names.

    Raises
    ------
    Problem
        The body is malformed, or there is no such file, or it is empty or too large.
    """
    event = app.current_event
    body = event.body or ""
    try:
        raw = base64.b64decode(body, validate=True) if event.is_base64_encoded else body.encode()
        boundary = parse_options_header(content_type)[1].get("boundary", "")
        # Latin-1 keeps every byte of a name; a name that is not UTF-8 is still somebody's file.
        parts = MultipartParser(
            io.BytesIO(raw),
            boundary,
            charset="latin-1",
            spool_limit=len(raw) + 1,
            memory_limit=len(raw) + 1,
        ).parts()
    except (MultipartError, binascii.Error, UnicodeEncodeError) as error:
        raise Problem(400, "invalid_body", f"The multipart body is malformed: {error}.") from error
    files = [part for part in parts if part.name == "file"]
    if not files:
        raise problems.invalid("file", "Field required; send it as -F 'file=@your_music.mp3'")
    if len(files) > 1:
        raise problems.invalid("file", f"There are {len(files)} files; send each in a request of its own")
    (part,) = files
    filename = extended_name(part.headers.get("Content-Disposition", ""))
    if not filename and part.filename:
        filename = part.filename.encode("latin-1", "replace").decode("utf-8", "replace")
    filename = without_hidden_characters(filename)
    if not filename:
        raise problems.invalid("file", "This is not a file; send it as -F 'file=@your_music.mp3'")
    declared = part.headers.get("Content-Type", "")
    content = part.raw
    if not content:
        raise problems.invalid("file", "The file is empty")
    if len(filename) > 1024:
        raise problems.invalid("file", "The file's name is longer than 1024 characters")
    if len(content) > contract.MULTIPART_BYTES:
        raise Problem(
            413,
            "too_large",
            f"The file is larger than {contract.MULTIPART_BYTES} bytes: upload it directly, with these two "
            "commands.",
            max_bytes=contract.MULTIPART_BYTES,
            curls=direct_upload_commands(filename, len(content), declared),
        )
    return File(filename, declared, content)


def extended_name(disposition: str) -> str:
    """Return the file name of a `filename*` parameter (RFC 5987), empty where there is none to be read.

    RFC 7578 forbids it in forms, and yet clients send it, some of them alone.

    Examples
    --------
    >>> extended_name("form-data; name=file; filename=x; filename*=UTF-8''K%C3%B6ln.wav")
    'Köln.wav'
    """
    match = re.search(
        r";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^\s;\"]*)", disposition, re.IGNORECASE
    )
    return unquote(match[2], match[1].lower(), "replace") if match else ""


def direct_upload_commands(filename: str, size: int, content_type: str) -> list[str]:
    """Return the two shell commands that upload a file directly.

    The first one asks for the upload; the second one turns the answer's fields into a configuration for
    curl and sends the file.
    """
    body = json.dumps(
        {"filename": filename, "bytes": size, "content_type": audio_type(content_type, filename)},
        ensure_ascii=False,
    )
    script = (
        "import json; u = json.load(open('upload.json'))['upload']; print('url =', json.dumps(u['url'])); "
        "[print('form-string =', json.dumps(k + '=' + v)) for k, v in u['fields'].items()]"
    )
    quoted = filename.replace("\\", "\\\\").replace('"', '\\"')
    file = f'file=@"{quoted}"'
    key = '-H "Authorization: Bearer $KEY" ' if settings.auth_mode == "keys" else ""
    return [
        f"curl -f -X POST {shlex.quote(app.base_url + '/api/upload')} {key}"
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)} -o upload.json",
        f"python3 -c {shlex.quote(script)} | curl -f -K - -F {shlex.quote(file)}",
    ]


def audio_type(declared: str, filename: str) -> str:
    """Settle the content type of a file: as declared, or by its extension when that says nothing.

    Raises
    ------
    Problem
        415 for what is certainly not audio. What only claims to be is found out by the decoder.

    Examples
    --------
    >>> audio_type("application/octet-stream", "song.MP3")
    'audio/mpeg'
    """
    kind = declared.split(";")[0].strip().lower()
    if kind in {"", GENERIC, "binary/octet-stream"}:
        extension = filename.rpartition(".")[2].lower()
        return BY_EXTENSION.get(extension, GENERIC)
    if kind in CONTAINERS or re.fullmatch(r"audio/[a-z0-9][a-z0-9.+-]{0,99}", kind):
        return kind
    raise Problem(415, "unsupported_media_type", f"{kind[:100]} is not audio.", field="content_type")


handler = app.handler()
