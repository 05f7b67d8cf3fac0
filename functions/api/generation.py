"""Generations: ask for new music, list what was asked for, show one, cancel or remove one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query

from backend import api, contract, openapi, problems
from backend.generations import find_generation, playable_answer, require_kept, require_succeeded
from backend.problems import Problem
from backend.purge import purge
from backend.records import UNFINISHED_GENERATION, Audio, Charge, Conflict, Generation
from backend.storage import ObjectMissing, candidate_key
from functions.api.audio import AudioId, find_audio
from functions.api.embedding import costs, current_vector, duration_of, failed, limits
from functions.api.service import (
    LOCATION,
    Cursor,
    Limit,
    Wait,
    app,
    queues,
    records,
    settings,
    storage,
    vectors,
)
from music import profiles, reach
from music.interfaces import GenerationError

GenerationId = Annotated[str, Path(description="Identifier of a generation.")]
NO_WISHES = contract.GenerateRequest()
LONGEST_BAR = 4.5  # seconds
Can = Callable[[profiles.Declaration], bool]


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
    idempotency_key: api.IdempotencyKey = None,
) -> Response:
    """Record the request and queue it, or let it wait for the embedding."""
    idempotency = api.idempotency(idempotency_key, {"audio_id": audio_id, **body.model_dump()})
    # Before anything is judged: the first answer holds, whatever became of the audio or the deployment.
    generation = records.replays.find(Generation, app.tenant, idempotency) if idempotency else None
    if generation is None:
        generation = submit(audio_id, body, idempotency)
    if generation.deleted:  # the replay of one that was removed since
        expired = generation.status == "expired"
        raise problems.gone("generation") if expired else problems.not_found("generation")
    asked = generation.status == "queued" and not generation.replayed
    if asked and records.has_turn(generation, limits):
        queues.send_generate(generation.tenant, generation.id, app.correlation_id)
    answer = contract.generation_answer(app.prefix, generation, records.now())
    return api.reply(202, answer, {"Location": answer.links["self"], **api.replayed(generation)})


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
    items = [contract.generation_answer(app.prefix, generation, records.now()) for generation in page]
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
            contract.GenerationAnswer,
            "Its record; `Retry-After` until it is finished.",
            headers=openapi.RETRY_AFTER,
        ),
    ),
)
def get_generation(generation_id: GenerationId, wait: Wait = 0) -> Response:
    """Show a generation's record, after waiting for its end if asked to."""
    generation = await_generation(generation_id, wait)
    unfinished = generation.status in UNFINISHED_GENERATION
    headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)} if unfinished else {}
    answer = playable_answer(app, records, storage(), generation)
    return api.reply(200, answer, headers)


@app.get(
    "/api/generation/<generation_id>/origins",
    summary="Show where a generation's sound comes from",
    description="Which part of it is which part of the source; needs a generator that copies.",
    operation_id="getOrigins",
    tags=["generation"],
    responses=openapi.answers(
        404, 409, 410, 422, _200=openapi.document(contract.Origins, "Its parts, in playing order.")
    ),
)
def get_origins(
    generation_id: GenerationId,
    candidate: Annotated[
        int | None, Query(ge=0, le=99, description="By default, the candidate that is chosen.")
    ] = None,
) -> Response:
    """Answer the document that lies beside a candidate."""
    generation = find_generation(app, records, generation_id)
    require_succeeded(generation)
    if candidate is not None:
        require_kept(generation, candidate, records.now())
    asked = generation.chosen if candidate is None else candidate
    try:
        if asked is None:
            raise ObjectMissing(generation.id)
        document = storage().read(candidate_key(generation.tenant, generation.id, asked, "json"))
    except ObjectMissing:
        raise Problem(409, "no_origins", "Nothing is known of where this music comes from.") from None
    answer = contract.Origins.model_validate(
        {"generation_id": generation.id, "candidate": asked, **json.loads(document)}
    )
    return api.reply(200, answer)


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
    generation = find_generation(app, records, generation_id)
    if generation.status in UNFINISHED_GENERATION:
        try:
            cancelled = records.cancel_generation(generation.tenant, generation.id)
        except Conflict:
            pass  # it finished at this moment
        else:
            return api.reply(202, contract.generation_answer(app.prefix, cancelled, records.now()))
    purge(records.bury(generation), records, storage(), vectors())
    return Response(204, body="")


def submit(audio_id: str, body: contract.GenerateRequest, idempotency: tuple[str, str] | None) -> Generation:
    """Record a request that this deployment can serve, or raise why it cannot."""
    audio = find_audio(audio_id)
    check_support(body)
    check_consistency(body)
    if audio.status == "ready":
        current_vector(audio)
        check_reach(body, audio)
    parameters = body.model_dump()
    if body.region:
        parameters["duration"] = body.region.seconds
    if body.bars:
        # A bar of a section, or at another tempo, may be shorter: the job finds out, and makes no more.
        parameters["duration"] = min(body.bars * seconds_of_bar(audio), longest_piece())
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
            charge=Charge(*costs.generation(duration_of(audio), parameters["duration"], body.candidates)),
        )
    except Conflict as error:
        if error.status != "failed":
            raise
        raise failed(find_audio(audio_id)) from error


def check_support(request: contract.GenerateRequest) -> None:
    """Refuse what the deployment's profile cannot do, naming the profiles that can."""
    for field, what, can in needs(request):
        able = [name for name, declared in profiles.DECLARED.items() if can(declared)]
        if settings.profile not in able:
            raise problems.unsupported(settings.profile, what, able, field=field)


def needs(request: contract.GenerateRequest) -> Iterator[tuple[str, str, Can]]:
    """Tell what of a request not every profile can do.

    Yields
    ------
    str
        The field that asks for it.
    str
        What it is.
    callable
        Whether a profile can.
    """
    yield "mode", f"Mode {request.mode!r}", lambda profile: request.mode in profile.modes
    for field in ("prompt", "negative_prompt"):
        if getattr(request, field) is not None:
            yield field, "A prompt", lambda profile: profile.text
    if request.ending is not None:
        yield "ending", f"Ending {request.ending!r}", lambda profile: request.ending in profile.endings
    if request.loop:
        yield "loop", "A loop", lambda profile: profile.loops
    if request.before:
        yield "before", "Music before the track", lambda profile: profile.before
    rate = request.sample_rate
    yield "sample_rate", f"A sample_rate of {rate}", lambda profile: rate in profile.sample_rates
    lengths = profiles.LENGTHS[settings.generate_host]
    seconds = request.region.seconds if request.region else request.duration
    field = "region" if request.region else "duration"
    yield field, f"A duration of {seconds:g} s", lambda profile: seconds <= lengths[profile.name].piece
    what, total = f"{request.candidates} candidates of {seconds:g} s", request.candidates * seconds
    yield "candidates", what, lambda profile: total <= lengths[profile.name].total


def check_consistency(request: contract.GenerateRequest) -> None:
    """Refuse fields that contradict each other."""
    given = {name for name in request.model_fields_set if getattr(request, name) is not None}
    if not request.loop:
        given.discard("loop")
    excluded: dict[str, tuple[str, ...]] = {
        "extend": ("loop", "tempo", "key", *(("ending",) if request.before else ())),
        "repaint": ("duration", "section", "ending", "loop", "tempo", "key", "sample_rate"),
    }
    for field in excluded.get(request.mode, ()):
        if field in given:
            raise problems.invalid(field, f"It may not stand beside mode {request.mode!r}")
    if request.before and request.mode != "extend":
        raise problems.invalid("before", "Only mode 'extend' takes it")
    if (request.region is not None) != (request.mode == "repaint"):
        raise problems.invalid("region", "Mode 'repaint' needs it, and nothing else takes it")
    if request.negative_prompt is not None and request.guidance_scale == 1.0:
        raise problems.invalid("negative_prompt", "It needs a guidance_scale over 1")
    if request.loop != (request.bars is not None):
        raise problems.invalid("bars", "A loop needs it, and nothing else takes it")
    if request.loop:
        for field in ("duration", "ending"):
            if field in given:
                raise problems.invalid(field, "A loop is as long as its bars, and does not end")
        if request.format == "mp3":
            raise problems.invalid(
                "format", "mp3 pads what it holds, so it cannot loop: take wav, flac or ogg"
            )
    if request.format in ("wav", "flac"):
        return
    if request.region:
        raise problems.invalid("format", f"{request.format} changes every sample: take wav or flac")
    if request.sample_rate == "source":
        raise problems.invalid("sample_rate", f"{request.format} does not know every rate: take wav or flac")
    if request.bit_depth != 16:
        raise problems.invalid("bit_depth", f"{request.format} has none: take wav or flac")


def check_reach(request: contract.GenerateRequest, audio: Audio) -> None:
    """Refuse what cannot be made of this track; while nothing is known of one, its job fails of it."""
    features = audio.features or {}
    length = float(features["duration"])
    if request.section and request.section.end > length + reach.SLACK:
        detail = f"The track ends at {length:g} s."
        raise problems.Problem(422, "section_out_of_range", detail, field="section")
    if request.region and request.region.end > length + reach.SLACK:
        detail = f"The track ends at {length:g} s."
        raise problems.Problem(422, "region_out_of_range", detail, field="region")
    used = request.section.seconds if request.section else length
    if request.mode == "extend" and used + request.duration > reach.LONGEST_EXTENDED:
        detail = (
            f"Track and music may last {reach.LONGEST_EXTENDED:g} s together: name a section, or less music."
        )
        raise problems.Problem(422, "too_long", detail, field="duration")
    if request.section is None:
        check_music(request, audio)


def check_music(request: contract.GenerateRequest, audio: Audio) -> None:
    """Refuse what a track's own tempo, key and bars do not reach; those of a section, its job finds out."""
    features = audio.features or {}
    if request.loop:
        with reachable("loop"):
            reach.require_bars(features.get("bars"))
    own = profiles.DECLARED[settings.profile]
    speed = 1.0
    if own.turns:
        if request.tempo is not None:
            with reachable("tempo"):
                speed = reach.speed(float(features["tempo"]), request.tempo)
        if request.key is not None:
            with reachable("key"):
                reach.semitones(features.get("key"), features.get("mode"), request.key)
    longest = longest_piece()
    if request.bars and request.bars * seconds_of_bar(audio) / speed > longest:
        detail = f"{request.bars} bars of this track last over {longest:g} s."
        raise problems.Problem(422, "loop_too_long", detail, field="bars")


@contextmanager
def reachable(field: str) -> Iterator[None]:
    """Answer 422 where a field asks for what cannot be made of the track."""
    try:
        yield
    except GenerationError as error:
        raise problems.Problem(422, error.code, error.detail, field=field) from error


def longest_piece() -> float:
    """Return how long a piece this deployment makes at most, in seconds."""
    return profiles.LENGTHS[settings.generate_host][settings.profile].piece


def seconds_of_bar(audio: Audio) -> float:
    """Return how long a bar of a track is, or may be while nothing is known of it."""
    bars: list[float] = (audio.features or {}).get("bars") or []
    return (bars[-1] - bars[0]) / (len(bars) - 1) if len(bars) > 1 else LONGEST_BAR


def await_generation(generation_id: str, wait: float) -> Generation:
    """Read a generation until it is finished, for `wait` seconds at most."""
    return app.poll(
        lambda: find_generation(app, records, generation_id),
        lambda found: found.status not in UNFINISHED_GENERATION,
        wait,
    )
