"""The profile in force: its models, what may be asked of it, how fast it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.event_handler import Response

from backend import api, contract, openapi
from backend.records import Limits
from backend.settings import MAX_UPLOAD_BYTES
from functions.api.service import app, records, settings
from music import profiles

declared = profiles.DECLARED[settings.profile]
length = profiles.LENGTHS[settings.generate_host][settings.profile]
limits = Limits.from_settings(settings)


@app.get(
    "/api/profile",
    summary="What can this deployment do?",
    operation_id="getProfile",
    tags=["service"],
    responses=openapi.answers(_200=openapi.document(contract.Profile, "The profile in force.")),
)
def get_profile() -> Response:
    """Answer the models of the profile in force, what may be asked of them, and how fast they were so far."""
    left = None
    if limits and limits.worker_seconds_per_day:
        left = max(0.0, limits.worker_seconds_per_day - records.usage.charged(app.tenant))
    speed = records.speeds.read(declared.name)
    identity = profiles.identity(declared.name)
    return api.reply(
        200,
        contract.Profile.model_validate(
            {
                "profile": declared.name,
                "embedder": {
                    "model": identity.model,
                    "revision": identity.revision,
                    "dimension": profiles.DIMENSION,
                    "license": profiles.embedder_license(declared.name),
                },
                "generator": profiles.generator(declared.name),
                "text_search": declared.text,
                "modes": list(declared.modes),
                "fields": fields(declared),
                "costs": asdict(declared.costs),
                "speed": {
                    "music_seconds_per_second": speed.music_seconds_per_second if speed else None,
                    "measured_jobs": speed.measured_jobs if speed else 0,
                },
                "limits": {
                    "generate_seconds": length.total,
                    "upload_seconds": contract.MAX_SOURCE_SECONDS,
                    "upload_bytes": MAX_UPLOAD_BYTES,
                    "multipart_bytes": contract.MULTIPART_BYTES,
                    "unfinished": limits.unfinished if limits else None,
                    "worker_seconds_per_day": (limits and limits.worker_seconds_per_day) or None,
                    "worker_seconds_left": left,
                    "stored_bytes": limits.stored_bytes if limits else None,
                },
            }
        ),
    )


def fields(profile: profiles.Declaration) -> dict[str, dict[str, Any]]:
    """Describe the fields of a request that a profile takes, from the request's own schema."""
    described = {}
    document = contract.GenerateRequest.model_json_schema()
    for name, schema in document["properties"].items():
        if (
            (name in ("prompt", "negative_prompt") and not profile.text)
            or (name in ("loop", "bars") and not profile.loops)
            or (name == "before" and not profile.before)
            or (name == "region" and "repaint" not in profile.modes)
        ):
            continue
        (kind,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
        if "$ref" in kind:
            kind = document["$defs"][kind["$ref"].rpartition("/")[2]]
        told = {
            "type": kind.get("type", "string"),  # numbers and a word, where it has none
            "nullable": "anyOf" in schema,
            "default": schema["default"],
            "minimum": kind.get("minimum"),
            "maximum": kind.get("maximum"),
            "max_length": kind.get("maxLength"),
            "enum": kind.get("enum"),
            "properties": kind.get("properties"),
            "description": schema["description"],
        }
        if name == "duration":
            told["maximum"] = length.piece
        if name == "mode":
            told["enum"] = list(profile.modes)
        if name == "ending":
            told["enum"] = list(profile.endings)
        if name == "sample_rate":
            told["enum"] = list(profile.sample_rates)
        always = {"type", "nullable", "default", "description"}
        described[name] = {key: value for key, value in told.items() if key in always or value is not None}
    return described
