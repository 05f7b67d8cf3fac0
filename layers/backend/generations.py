"""Generations as requests see them: which is meant, whether it has a result, and which file that is."""

from __future__ import annotations

import re

from backend import api, contract, problems
from backend.api import Api
from backend.problems import Problem
from backend.records import UNFINISHED_GENERATION, Generation, Records
from backend.storage import Storage, candidate_key, generated_key


def find_generation(app: Api, records: Records, generation_id: str) -> Generation:
    """Read the tenant's generation, or raise 404 or 410."""
    generation = records.get_generation(app.tenant, api.identifier(generation_id, "generation"))
    if generation is None or generation.status == "deleted":
        raise problems.not_found("generation")
    if generation.deleted:
        raise problems.gone("generation")
    return generation


def require_succeeded(generation: Generation) -> None:
    """Raise the 409 of a generation that has no result: not yet, or never."""
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


def require_kept(generation: Generation, candidate: int, now: float) -> None:
    """Raise the 404 of a candidate that never was, or the 410 of one that is not kept any more."""
    if candidate in generation.kept(now):
        return
    tried = (generation.result or {}).get("candidates", [])
    if generation.best is not None and 0 <= candidate < len(tried) and tried[candidate].get("similarity"):
        raise problems.gone("candidate")
    raise problems.not_found("candidate")


def file_key(generation: Generation, candidate: int | None, extension: str) -> str:
    """Return the key of a candidate's file in a format: that of the best, or of None, is the result's."""
    tenant, identifier = generation.tenant, generation.id
    if candidate in {None, generation.best} and extension == generation.format:
        return generated_key(tenant, identifier, extension)
    assert candidate is not None
    return candidate_key(tenant, identifier, candidate, extension)


def file_name(generation: Generation, records: Records, extension: str, candidate: int | None = None) -> str:
    """Name a generation's file after the track that it was made from; an only candidate needs no number."""
    if candidate is not None and len((generation.result or {})["candidates"]) == 1:
        candidate = None
    source = records.get_audio(generation.tenant, generation.audio_id)
    return output_name(source.filename if source else "", generation.id, extension, candidate)


def output_name(source: str, generation_id: str, extension: str, candidate: int | None = None) -> str:
    """Name a generation's file, or that of one of its candidates, after its source.

    Examples
    --------
    >>> output_name("live/your_music.mp3", "01JZ8QB1T5G2H4J6K8M0N3P5Q7", "wav")
    'your_music-0N3P5Q7.wav'
    >>> output_name("live/your_music.mp3", "01JZ8QB1T5G2H4J6K8M0N3P5Q7", "wav", 2)
    'your_music-0N3P5Q7-2.wav'
    """
    stem = re.split(r"[/\\]", source)[-1]
    stem = (stem.rpartition(".")[0] or stem)[:100].strip(" .") or "music"
    number = "" if candidate is None else f"-{candidate}"
    return f"{stem}-{generation_id[-7:]}{number}.{extension}"


def playable_answer(
    app: Api, records: Records, storage: Storage, generation: Generation
) -> contract.GenerationAnswer:
    """Show a generation's record, with links that play its result and its candidates without a header."""
    now = records.now()
    answer = contract.generation_answer(app.prefix, generation, now)
    if generation.status != "succeeded":
        return answer
    source = file_name(generation, records, "")

    def play(candidate: int | None, extension: str) -> str:
        return storage.presign_download(
            file_key(generation, candidate, extension),
            filename=f"{source}{extension}",
            content_type=contract.CONTENT_TYPES[extension],
            disposition="inline",
        ).url

    answer.links["play"] = play(generation.chosen, generation.format)
    for index, candidate in enumerate(answer.candidates or []):
        if candidate.links:
            playing = "flac" if generation.has_candidates(now) else generation.format
            candidate.links["play"] = play(index, playing)
    return answer
