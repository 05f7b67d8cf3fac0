"""The options of `music generate`: the fields of the request, as `openapi.json` describes them."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal

import typer

from client.failure import Exit, Failure

SCHEMA = "GenerateRequest"
_RENAMED = {"key": "in_key"}  # --key is the API's
_NUMBERS = {"integer": int, "number": float}
_FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}


@dataclass(frozen=True)
class Field:
    """One field of the request, or of an object in it, such as the start of a section.

    Attributes
    ----------
    path : tuple of str
        Its names from the outermost one on, as the API calls them.
    schema : dict
        Of its value when it is not null: JSON Schema.
    description : str
        What it is.
    default : object
        What the API takes where it is not given; None where there is no such value.
    """

    path: tuple[str, ...]
    schema: dict[str, Any]
    description: str
    default: Any

    @property
    def name(self) -> str:
        """What the command's function calls it."""
        name = "_".join(self.path)
        return _RENAMED.get(name, name)

    @property
    def structured(self) -> bool:
        """Whether its value is written as JSON: an object, a list, or one of several types."""
        return self.schema.get("type") not in {"boolean", "string", *_NUMBERS} and not self.choices

    @property
    def choices(self) -> dict[str, Any]:
        """The values that it may have, as they are written, where they are numbers and words."""
        values = self.schema.get("enum", [])
        return {} if "type" in self.schema else {str(value): value for value in values}

    def parameter(self) -> inspect.Parameter:
        """Return the parameter that makes the command line's option of it. None is an option not given."""
        values, kind = self.schema.get("enum"), self.schema.get("type")
        python: Any = str
        if self.choices:
            python = Literal[tuple(self.choices)]
        elif values and all(isinstance(value, str) for value in values):
            python = Literal[(*values, *_in_flats(values))]
        elif kind in _NUMBERS:
            python = _NUMBERS[str(kind)]
        elif kind == "boolean":
            python = bool
        option = typer.Option(
            f"{self.option}/--no-{self.option[2:]}" if python is bool else self.option,
            help=self._help(),
            show_default=False,
            metavar="JSON" if self.structured else "NUMBER" if kind in _NUMBERS else None,
        )
        annotation: Any = Annotated[python | None, option]
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )

    @property
    def option(self) -> str:
        """What the option is called."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def _range(self) -> str:
        if (
            "enum" in self.schema and self.schema.get("type") in _NUMBERS
        ):  # those of text are shown as choices
            return " or ".join(map(_shown, self.schema["enum"]))
        low, high = self.schema.get("minimum"), self.schema.get("maximum")
        return "" if low is None or high is None else f"{_shown(low)} to {_shown(high)}"

    def _help(self) -> str:
        default = "" if self.default is None else f"by default {_shown(self.default)}"
        limits = ", ".join(filter(None, (self._range, default)))
        return f"{self.description} ({limits})" if limits else self.description

    def value(self, given: Any) -> Any:
        """Return the value to send for what the option was given.

        Raises
        ------
        Failure
            It is out of range, or not the JSON that it has to be.
        """
        if self.choices:
            return self.choices[given]
        if self.structured:
            try:
                return json.loads(given)
            except ValueError as error:
                raise Failure(
                    Exit.USAGE, f"{self.option} takes JSON, and {given!r} is none: {error}"
                ) from error
        low, high = self.schema.get("minimum", -math.inf), self.schema.get("maximum", math.inf)
        if self.schema["type"] in _NUMBERS and not (
            given in self.schema.get("enum", [given]) and low <= given <= high
        ):
            raise Failure(Exit.USAGE, f"{self.option} takes {self._range or f'{low} to {high}'}, not {given}")
        return given


def _in_flats(values: list[str]) -> Iterator[str]:
    """Yield how keys are called with flats, which the API takes, too, and answers with sharps."""
    for tonic, mode in (value.split(" ") for value in values if " " in value):
        if tonic in _FLATS:
            yield f"{_FLATS[tonic]} {mode}"


@functools.cache
def contract() -> dict[str, Any]:
    """Return the contract that this command line was made with."""
    return dict(json.loads(resources.files("backend").joinpath("openapi.json").read_bytes()))


def fields() -> list[Field]:
    """List the fields of the request, in the contract's order."""
    schemas = contract()["components"]["schemas"]
    properties = schemas[SCHEMA]["properties"].items()
    return [field for name, schema in properties for field in _fields((name,), schema, schemas)]


def body(values: dict[str, Any]) -> dict[str, Any]:
    """Return the request's body: what was given, and nothing else."""
    found: dict[str, Any] = {}
    for field in fields():
        if (given := values[field.name]) is not None:
            *outer, last = field.path
            place = found
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = field.value(given)
    return found


def _fields(
    path: tuple[str, ...], schema: dict[str, Any], schemas: dict[str, Any], about: str = ""
) -> Iterator[Field]:
    """Yield what a property becomes: itself, or of an object its own properties."""
    kinds = [_resolved(kind, schemas) for kind in schema.get("anyOf", [schema])]
    kinds = [kind for kind in kinds if kind.get("type") != "null"]
    chosen = kinds[0] if len(kinds) == 1 else {}
    if len(kinds) > 1 and all("enum" in kind for kind in kinds):  # numbers and words
        chosen = {"enum": [value for kind in kinds for value in kind["enum"]]}
    description = f"{about}{schema.get('description') or chosen.get('description') or ''}"
    if chosen.get("type") == "object" and "properties" in chosen:
        for name, inner in chosen["properties"].items():
            yield from _fields((*path, name), inner, schemas, f"{description} {name.capitalize()}: ")
    else:
        yield Field(path, chosen, description, schema.get("default"))


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _shown(value: Any) -> str:
    """Write a value as a user would.

    Examples
    --------
    >>> _shown(30.0), _shown(0.05), _shown("wav"), _shown(False)
    ('30', '0.05', 'wav', 'false')
    """
    if isinstance(value, str):
        return value
    return str(int(value)) if type(value) is float and value.is_integer() else json.dumps(value)
