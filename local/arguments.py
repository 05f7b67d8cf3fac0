"""`python3 -m local.arguments TARGET`: what make was asked for, checked before anything is installed.

The values come by the environment, as they were written. Only Python's own library is there yet.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from music import profiles

CONTRACT = Path(__file__).resolve().parents[1] / "layers/backend/openapi.json"
VARIABLES = {
    "demo": ("AUDIO", "DURATION", "TEMPERATURE", "SEED", "PROFILE", "OUT"),
    "serve": ("PORT", "PROFILE", "DATA", "GENERATE_HOST"),
    "sam": ("PORT", "PROFILE", "GENERATE_HOST"),
    "deploy": ("PROFILE", "GENERATE_HOST"),
    "models": ("PROFILE",),
    "redrive": ("ENDPOINT",),
    "test-deployed": ("API_URL",),
}
"""What each target takes."""
HOSTS = ("lambda", "sagemaker")
"""Where generations run."""


def main(target: str) -> int:
    """Print a line for each mistake; returns the exit status."""
    found = list(mistakes(target, os.environ))
    for mistake in found:
        print(f"make {target}: {mistake}", file=sys.stderr)
    return 1 if found else 0


def mistakes(target: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Find what cannot be right in the variables of a target.

    Parameters
    ----------
    target : str
        One of `VARIABLES`.
    environment : mapping
        The variables; one that is empty was not given.

    Yields
    ------
    str
        A line that names the variable, its value, and what it may be.

    Examples
    --------
    >>> list(mistakes("serve", {"PORT": "80000"}))
    ["PORT='80000' is no port: 0 to 65535"]
    """
    for name in VARIABLES[target]:
        value = environment.get(name, "")
        if value or name in REQUIRED:
            yield from _CHECKS[name](name, value, environment)


def _profile(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    if value not in profiles.DECLARED:
        yield f"{name}={value!r} is no profile: {', '.join(profiles.DECLARED)}"


def _host(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    if value not in HOSTS:
        yield f"{name}={value!r} is none: {' or '.join(HOSTS)}"


def _number(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Check against the contract: the field of the request has the variable's name."""
    fields = json.loads(CONTRACT.read_text())["components"]["schemas"]["GenerateRequest"]["properties"]
    field = fields[name.lower()]
    kinds = [field, *field.get("anyOf", [])]
    low, high = (next(kind[bound] for kind in kinds if bound in kind) for bound in ("minimum", "maximum"))
    profile = profiles.DECLARED.get(environment.get("PROFILE", ""))
    if name == "DURATION" and profile:
        high = min(high, profiles.LENGTHS["lambda"][profile.name].piece)
    whole = any(kind.get("type") == "integer" for kind in kinds)
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        bounds = f"{low:.0f} to {high:.0f}" if whole else f"{low:g} to {high:g}"
        yield f"{name}={value!r} is no {'whole ' if whole else ''}number from {bounds}"


def _audio(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    path = Path(value)
    if not path.is_file():
        yield f"{name}: there is no file {value}"
    elif not os.access(path, os.R_OK):
        yield f"{name}: {value} may not be read"
    elif path.stat().st_size == 0:
        yield f"{name}: {value} is empty"


def _folder(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    path = Path(value).absolute()
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir():
        yield f"{name}: {there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield f"{name}: nothing may be written to {there}"


def _port(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        yield f"{name}={value!r} is no port: 0 to 65535"


def _url(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    try:
        parts = urlsplit(value)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return
    except ValueError:
        pass
    yield f"{name}={value!r} is no address such as https://…: sam deploy printed it as ApiUrl"


def _endpoint(name: str, value: str, environment: Mapping[str, str]) -> Iterator[str]:
    if not value and not environment.get("STACK"):
        yield "ENDPOINT= of a local stack is needed, as make serve prints it, or STACK= on AWS"


_CHECKS = {
    "PROFILE": _profile,
    "GENERATE_HOST": _host,
    "DURATION": _number,
    "TEMPERATURE": _number,
    "SEED": _number,
    "AUDIO": _audio,
    "OUT": _folder,
    "DATA": _folder,
    "PORT": _port,
    "API_URL": _url,
    "ENDPOINT": _endpoint,
}
REQUIRED = {"API_URL", "ENDPOINT"}
"""What a target cannot do without."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
