"""Search: source tracks by a description, and on a map.

The map is computed here, since of the images that answer requests this one alone holds numpy.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Annotated, NamedTuple

import numpy as np
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from backend import api, contract, openapi, problems
from backend.problems import Problem
from backend.records import Audio, Records
from backend.settings import Settings
from backend.start import Loaded
from backend.vectors import Vectors, neighbours
from music import interfaces, loading, profiles

settings = Settings.from_environment()
records = Records.from_settings(settings)
vectors = Vectors.from_settings(settings)
app = api.Api(settings)
MAP_TRACKS = 500
"""Newest tracks that the axes of a map are computed from."""
MAP_PAGES = 10
"""Pages of 100 records that are looked through for them."""

identity = profiles.identity(settings.profile)
embedder = (
    Loaded("text embedder", partial(loading.load_text, settings.profile))
    if profiles.DECLARED[settings.profile].text
    else None
)


@app.post(
    "/api/search",
    summary="Find source tracks by a description",
    description="Needs a profile with a text-audio model.",
    operation_id="search",
    tags=["embedding"],
    responses=openapi.answers(400, 409, 413, 422, _200=openapi.document(contract.Similar, "Best first.")),
)
def search(body: Annotated[contract.SearchRequest, Body()]) -> Response:
    """Answer the tracks whose vectors are nearest to the text's."""
    if embedder is None:
        able = [name for name, declared in profiles.DECLARED.items() if declared.text]
        raise problems.unsupported(settings.profile, "Text search", able)
    try:
        vector = embedder().embed(body.text)
    except interfaces.TextTooLong as error:
        raise Problem(422, "text_too_long", f"text: {error}.", field="text") from error
    matches = vectors.query(app.tenant, vector.tolist(), embedder().identity.id, body.k)
    return api.reply(200, contract.similar_answer(app.prefix, neighbours(matches, app.tenant, records)))


class Axes(NamedTuple):
    """The plane of a map: `mean` [shape=(d,)], `directions` [shape=(2, d)], `explained` [shape=(2,)]."""

    mean: np.ndarray
    directions: np.ndarray
    explained: np.ndarray


@app.get(
    "/api/map",
    summary="Show source tracks on a map",
    description="Coordinates are those of the embeddings along the first two principal components of the "
    f"newest {MAP_TRACKS} tracks. Tracks without an embedding of the deployment's profile are left out, so a "
    "page may be shorter than its limit.",
    operation_id="getMap",
    tags=["embedding"],
    responses=openapi.answers(422, _200=openapi.document(contract.Map, "A page of the map.")),
)
def get_map(
    cursor: Annotated[str | None, Query(max_length=200, description="From the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Records on a page.")] = 100,
) -> Response:
    """Answer a page of the map. All pages that follow one first page have its axes."""
    begun, _, position = (cursor or "").partition(".")
    try:
        if cursor and not position:
            raise ValueError(cursor)
        at = int(begun) if cursor else math.ceil(records.now() * 1000)
        page, following = records.list_audio(app.tenant, position or None, limit, vectors=True)
    except ValueError as error:
        raise problems.invalid("cursor", "Not a cursor of this map") from error
    axes = axes_of(app.tenant, at)
    shown = [audio for audio in page if comparable(audio)]
    points = (
        (np.stack([vector_of(audio) for audio in shown]) - axes.mean) @ axes.directions.T if shown else []
    )
    items = [
        contract.MapPoint(
            audio_id=audio.id,
            x=round(float(x), 6),
            y=round(float(y), 6),
            filename=audio.filename,
            tags=audio.tags or [],
            links=contract.audio_links(app.prefix, audio.id),
        )
        for audio, (x, y) in zip(shown, points, strict=True)
    ]
    explained = [round(float(share), 6) for share in axes.explained]
    return api.reply(
        200,
        contract.Map(items=items, cursor=f"{at}.{following}" if following else None, explained=explained),
    )


@lru_cache(maxsize=64)
def axes_of(tenant: str, at: int) -> Axes:
    """Compute the axes of a tenant's map as it was at a time, in milliseconds: that of a first page.

    They are kept for the pages that follow it. Where another process answers these, it leaves out what was
    embedded since; what was embedded again or went since is missing, and the axes turn a little.
    """
    found: list[np.ndarray] = []
    cursor = None
    for _ in range(MAP_PAGES):
        page, cursor = records.list_audio(tenant, cursor, 100, vectors=True)
        known = (audio for audio in page if (audio.embedded_at or 0.0) * 1000 <= at)
        found += [vector_of(audio) for audio in known if comparable(audio)]
        if not cursor or len(found) >= MAP_TRACKS:
            break
    return principal_axes(np.array(found[:MAP_TRACKS]))


def principal_axes(vectors: np.ndarray) -> Axes:
    """Return the first two principal components of vectors [shape=(n, d)].

    Of each, the largest element is positive: the same vectors always give the same map. What has fewer than
    two dimensions has zeros for the others.
    """
    if len(vectors) == 0:
        return Axes(np.zeros(profiles.DIMENSION), np.zeros((2, profiles.DIMENSION)), np.zeros(2))
    mean = vectors.mean(axis=0)
    _, scales, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    variance = np.zeros(2)
    variance[: len(scales)] = scales[:2] ** 2
    plane = np.zeros((2, vectors.shape[1]))
    plane[: len(directions)] = directions[:2]
    largest = np.abs(plane).argmax(axis=1)
    plane *= np.where(plane[[0, 1], largest] < 0, -1.0, 1.0)[:, None]
    return Axes(mean, plane, variance / max(float((scales**2).sum()), 1e-12))


def comparable(audio: Audio) -> bool:
    """Tell whether an audio has a vector of the profile in force."""
    return audio.status == "ready" and interfaces.Identity(**(audio.identity or {})).id == identity.id


def vector_of(audio: Audio) -> np.ndarray:
    """Return an audio's vector [shape=(d,)]."""
    return np.frombuffer(audio.vector or b"", "<f4").astype(np.float64)


handler = app.handler()
