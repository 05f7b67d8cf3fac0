"""The function of the API: every route but upload and search.

Each module beside this one holds the routes of one resource, and registers them when it is imported.
"""

from __future__ import annotations

from functions.api import audio, download, embedding, generation, meta, page, profile
from functions.api.service import app, records

__all__ = [
    "app",
    "audio",
    "download",
    "embedding",
    "generation",
    "handler",
    "meta",
    "page",
    "profile",
    "records",
]

handler = app.handler()
