"""Search: source tracks by a description, through the text tower of the embedder's model."""

from __future__ import annotations

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from backend import api, contract, openapi, problems
from backend.problems import Problem
from backend.records import Records
from backend.settings import Settings
from backend.vectors import Vectors, neighbours
from music import interfaces, loading, profiles

settings = Settings.from_environment()
records = Records.from_settings(settings)
vectors = Vectors.from_settings(settings)
app = api.Api(settings)
embedder = loading.load_text(settings.profile) if profiles.DECLARED[settings.profile].text else None


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
        vector = embedder.embed(body.text)
    except interfaces.TextTooLong as error:
        raise Problem(422, "text_too_long", f"text: {error}.", field="text") from error
    matches = vectors.query(app.tenant, vector.tolist(), embedder.identity.id, body.k)
    return api.reply(200, contract.similar_answer(app.prefix, neighbours(matches, app.tenant, records)))


handler = app.handler()
