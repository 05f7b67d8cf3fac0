"""Which deployment `music` talks to, and with which key: options, then the environment, then a file."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import typer

from client.failure import Exit, Failure, file_failure

LOCAL = "http://127.0.0.1:8000"
"""Where `music serve` answers."""


@dataclass(frozen=True)
class Deployment:
    """A deployment as a client knows it."""

    url: str
    key: str | None


def config_path() -> Path:
    """Return where the configuration file is looked for."""
    return Path(typer.get_app_dir("music")) / "config.toml"


def deployment(api: str | None, key: str | None) -> Deployment:
    """Settle the deployment from what the options said.

    The file's key goes to the file's API alone, so that another one never gets to see it.

    Raises
    ------
    Failure
        The address or the file is none.
    """
    config = _config(config_path())
    url = (api or os.environ.get("MUSIC_API") or config.get("api") or LOCAL).rstrip("/")
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Failure(Exit.USAGE, f"{url!r} is no address of an API: give one such as {LOCAL} with --api")
    given = key or os.environ.get("MUSIC_KEY")
    if not given and url == config.get("api", LOCAL).rstrip("/"):
        given = config.get("key")
    if given and not (given.isascii() and given.isprintable() and " " not in given):
        raise Failure(Exit.KEY, "the key has characters that no key has: give it again with --key")
    return Deployment(url, given or None)


def _config(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise file_failure(path, "read", error) from error
    except ValueError as error:
        raise Failure(Exit.USAGE, f"{path} is no TOML: {error}") from error
    for name, value in found.items():
        if name not in {"api", "key"} or not isinstance(value, str):
            raise Failure(Exit.USAGE, f"{path}: {name} is not known there; it has api and key, both text")
    return found
