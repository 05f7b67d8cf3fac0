"""Write `layers/backend/openapi.json` from the routes: `python -m tests.write_openapi`."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

FUNCTIONS = ("upload", "api", "search", "encode")
TARGET = Path(__file__).parents[1] / "layers/backend/openapi.json"
DESCRIPTION = (
    "Upload a piece of instrumental music, get its embedding, and generate new music like it. "
    "Errors are problem documents (RFC 9457) with a stable `code`. Every answer has an `X-Correlation-Id`."
)
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, `id.secret`. Deployments with AuthMode=none ask for none.",
}
TAGS = {
    "audio": "Source tracks.",
    "embedding": "What source tracks sound like, and which of them are alike.",
    "generation": "New music.",
    "service": "The deployment itself. It needs no key.",
}
# What Powertools' own answers to bad values are made of; this API does not give them.
DEFAULTS = {"HTTPValidationError", "ResponseValidationError", "ValidationError"}
# The functions read their environment when they are imported; describing them needs no AWS.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "TABLE_NAME": "records",
    "KEYS_TABLE_NAME": "keys",
    "BUCKET_NAME": "audio",
    "VECTOR_BUCKET_NAME": "vectors",
    "VECTOR_INDEX_NAME": "audio",
    "EMBED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/embed",
    "GENERATE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/generate",
    "EMBED_DEAD_LETTERS_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/embed-dead-letters",
    "GENERATE_DEAD_LETTERS_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/generate-dead-letters",
    "EVENT_BUS_NAME": "default",
    "PROFILE": "builtin",
    "ALLOWED_ORIGINS": "*",
    "RETENTION_DAYS": "30",
    "CANDIDATE_DAYS": "3",
    "AUTH_MODE": "none",
    "MAX_UNFINISHED": "50",
    "MAX_WORKER_SECONDS_PER_DAY": "36000",
    "MAX_RUNNING": "2",
    "GENERATE_HOST": "lambda",
    "MAX_STORED_BYTES": "1000000000",
}


def build() -> dict[str, Any]:
    """Merge what the HTTP functions say of their routes into one OpenAPI 3.1 document.

    Raises
    ------
    ValueError
        Two functions claim the same operation, or describe one schema in two ways.
    """
    from backend.contract import VERSION

    merged: dict[str, Any] = {"paths": {}, "components": {"schemas": {}}}
    for name in FUNCTIONS:
        app = importlib.import_module(f"functions.{name}.app").app
        document = json.loads(
            app.get_openapi_json_schema(
                title="Music Generation Backend",
                version=VERSION,
                description=DESCRIPTION,
                openapi_version="3.1.0",
            )
        )
        for path, operations in document["paths"].items():
            for operation in operations.values():
                drop_default_422(operation["responses"])
                for response in operation["responses"].values():
                    if response.get("content") == {"application/json": {}}:  # Powertools' word for no body
                        del response["content"]
                operation["security"] = [{"key": []}] if "401" in operation["responses"] else []
                operation.setdefault("description", operation["summary"] + ".")
            known = merged["paths"].setdefault(path, {})
            if known.keys() & operations.keys():
                raise ValueError(f"{path} is described twice")
            known.update(operations)
        for schema, content in document.get("components", {}).get("schemas", {}).items():
            if schema in DEFAULTS:
                continue
            close(content)
            separate(content)
            if merged["components"]["schemas"].setdefault(schema, content) != content:
                raise ValueError(f"schema {schema} is described in two ways")
    return {
        "openapi": document["openapi"],
        "info": {
            **document["info"],
            "license": {"name": "MIT", "identifier": "MIT"},
            "contact": {"name": "Music Generation Backend"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(sorted(merged["paths"].items())),
        "components": {
            "schemas": dict(sorted(merged["components"]["schemas"].items())),
            "securitySchemes": {"key": KEY},
        },
    }


def close(schema: dict[str, Any]) -> None:
    """Leave unsaid that an answer may hold more, which JSON Schema takes for granted.

    Said, it makes generators give every member the type of what is unknown.
    """
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]


def separate(schema: dict[str, Any]) -> None:
    """Give members whose values are numbers and words an alternative for each type.

    Generators of clients leave out a whole request for one `enum` of several types.
    """
    names = {int: "integer", str: "string"}
    for member in schema.get("properties", {}).values():
        values: list[int | str] = member.get("enum", [])
        if len({type(value) for value in values}) > 1:
            del member["enum"]
            member["anyOf"] = [
                {"type": name, "enum": [value for value in values if type(value) is kind]}
                for kind, name in names.items()
            ]


def drop_default_422(responses: dict[str, Any]) -> None:
    """Take out the answer that Powertools documents by itself: ours to a bad value is a problem document."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]


def text(document: dict[str, Any]) -> str:
    """The file's content: indented, so that a change shows as a change of lines."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    TARGET.write_text(text(build()))
    print(f"{TARGET.name}: {len(build()['paths'])} paths")
