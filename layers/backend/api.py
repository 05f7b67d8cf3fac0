"""The resolver: from an API Gateway event to a handler's arguments, and from its answer to a response.

Every response carries the request's correlation id and the security headers. Links are built from the
request's own path.

See Also
--------
backend.contract : The bodies that go in and out.
backend.problems : What becomes of an error.
backend.openapi : How routes are documented.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import inspect
import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, TypeVar

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ValidationError

from backend import contract
from backend.observability import logger, metrics, tracer
from backend.problems import UNAUTHORIZED, Problem, as_problem, not_found
from backend.records import Audio, Generation
from backend.settings import DEFAULT_TENANT, Settings

CORRELATION_HEADER = "X-Correlation-Id"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
    "Vary": "Origin, Accept, Accept-Encoding",
}
COMPRESS_CHARACTERS = 1000
"""Shorter texts fit into one packet as they are."""
_PLACEHOLDER = re.compile(r"\{\w+\+?\}")
_IDENTIFIER = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Makes it safe to send the same request again.",
    ),
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)


class Api(APIGatewayRestResolver):
    """A Powertools resolver that speaks this project's contract.

    Parameters
    ----------
    settings : Settings
        Of these, the origins that browsers may call from and the kind of authorization.
    multipart : collection of str
        Resources that read multipart bodies. To all others every body is JSON.
    elsewhere : mapping of str to collection of str
        Methods that another function answers, by path: what `Allow` says holds for all of them.

    Examples
    --------
    >>> app = Api(settings)                                   # doctest: +SKIP
    >>> @app.get("/api/audio/<audio_id>")                     # doctest: +SKIP
    ... def get_audio(audio_id: str) -> Response: ...
    >>> handler = app.handler()                               # doctest: +SKIP
    """

    def __init__(
        self,
        settings: Settings,
        multipart: Collection[str] = (),
        elsewhere: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._multipart, self._elsewhere = multipart, elsewhere or {}
        self._auth_mode = settings.auth_mode
        first, *others = settings.allowed_origins
        cors = CORSConfig(
            allow_origin=first,
            extra_origins=others,
            allow_headers=["Idempotency-Key", "If-None-Match", "If-Range", "Range"],
            expose_headers=[
                CORRELATION_HEADER,
                *("Accept-Ranges", "Allow", "Content-Disposition", "Content-Range", "ETag"),
                *("Idempotent-Replayed", "Location", "Retry-After"),
            ],
            max_age=600,
        )
        super().__init__(cors=cors, debug=False, enable_validation=True, json_body_deserializer=_json_object)
        self.exception_handler(Exception)(self._problem)

    def route(self, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """Register a route, as Powertools does, but leave its answer alone.

        Handlers return finished responses; Powertools would try to validate and convert what their return
        annotation says.
        """
        register = super().route(*args, **kwargs)

        def bare(function: F) -> F:
            signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
            function.__signature__ = signature  # type: ignore[attr-defined]
            return register(function)

        return bare

    def handler(self) -> Callable[[dict[str, Any], LambdaContext], dict[str, Any]]:
        """Return the Lambda handler: this resolver with logging, tracing and metrics around it."""

        @logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
        @metrics.log_metrics(capture_cold_start_metric=True)
        @tracer.capture_lambda_handler(capture_response=False)  # an answer may be megabytes
        def handle(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
            return self.resolve(event, context)

        return handle

    def resolve(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer one API Gateway (REST, v1) proxy event."""
        started = time.perf_counter()
        answer = super().resolve(_normalised(event, event["resource"] in self._multipart), context)
        headers = answer.setdefault("multiValueHeaders", {})
        if event["httpMethod"] == "HEAD":
            _drop_body(answer, headers)
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, [value])
        headers[CORRELATION_HEADER] = [correlation_id(event)]
        status = int(answer["statusCode"])
        metrics.add_metric(name=f"Responses{status // 100}xx", unit=MetricUnit.Count, value=1)
        logger.info(
            "request",
            method=event["httpMethod"],
            resource=event["resource"],
            status=status,
            seconds=round(time.perf_counter() - started, 3),
        )
        return answer

    @property
    def method(self) -> str:
        """Return the request's method: of a HEAD request, which routes see as GET, ``"HEAD"``."""
        return str(self.current_event.raw_event["requestContext"]["httpMethod"])

    @property
    def tenant(self) -> str:
        """Return the owner of everything that this request may see, as the authorizer says.

        Raises
        ------
        Problem
            401: keys are wanted, and this request came past the authorizer.
        """
        authorizer = self.current_event.raw_event["requestContext"].get("authorizer") or {}
        if tenant := authorizer.get("tenant"):
            return str(tenant)
        if self._auth_mode == "none":
            return DEFAULT_TENANT
        raise Problem(401, "unauthorized", UNAUTHORIZED)

    @property
    def correlation_id(self) -> str:
        """Return the request's correlation id."""
        return correlation_id(self.current_event.raw_event)

    @property
    def prefix(self) -> str:
        """Return what precedes ``/api`` in the path that the client used: a stage, or a base path mapping."""
        event = self.current_event.raw_event
        full = event["requestContext"].get("path") or event["path"]
        return _split(full, event["resource"])[0]

    @property
    def base_url(self) -> str:
        """Return the URL that the client reached us by, up to the prefix."""
        event = self.current_event.raw_event
        headers = self.current_event.headers
        host = headers.get("host") or event["requestContext"].get("domainName") or "localhost"
        return f"{headers.get('x-forwarded-proto') or 'https'}://{host}{self.prefix}"

    def poll(self, read: Callable[[], T], done: Callable[[T], bool], wait: float) -> T:
        """Read until done, at most `wait` seconds and never past the function's own time.

        Parameters
        ----------
        read : callable
            Reads a record consistently; what it raises ends the poll.
        done : callable
            Whether there is nothing left to wait for.
        wait : float
            Seconds; 0 reads once.

        Returns
        -------
        T
            The last value read, done or not.
        """
        margin = 2.0  # for the answer itself
        remaining = self.lambda_context.get_remaining_time_in_millis() / 1000 - margin
        deadline = time.monotonic() + min(wait, remaining)
        pause = 0.2
        value = read()
        while not done(value) and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.4, 1.0)
            value = read()
        return value

    def _problem(self, error: Exception) -> Response:
        problem = as_problem(error, self.method, self._methods())
        if problem.status >= 500:
            logger.exception("request failed")
            problem.members.setdefault("correlation_id", self.correlation_id)
        else:
            logger.info("problem", status=problem.status, code=problem.code, detail=problem.detail)
        return Response(
            status_code=problem.status,
            content_type="application/problem+json",
            body=json.dumps(problem.document(), ensure_ascii=False),
            headers=problem.headers,
        )

    def _methods(self) -> list[str]:
        """Return the methods that the resource of this request has: with an id that may be anything."""
        resource = str(self.current_event.resource)
        path = _PLACEHOLDER.sub("id", resource)
        routes = [*self._static_routes, *self._dynamic_routes]
        methods = {route.method for route in routes if route.rule.match(path)}
        methods |= set(self._elsewhere.get(resource, ()))
        return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def correlation_id(event: Mapping[str, Any]) -> str:
    """Return the id that joins this request's response, logs, messages and records."""
    return str(event["requestContext"]["requestId"])


def idempotency(key: str | None, request: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the hashes of a client's idempotency key and of what it asks for, None without a key."""
    if key is None:
        return None
    body = json.dumps(request, sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest(), hashlib.sha256(body.encode()).hexdigest()


def replayed(record: Audio | Generation) -> dict[str, str]:
    """Return the header that tells a repeated answer from a first one."""
    return {"Idempotent-Replayed": "true"} if record.replayed else {}


def identifier(value: str, what: str) -> str:
    """Pass a well-formed identifier on; anything else cannot name a record.

    Raises
    ------
    Problem
        404, as for one that is not there.
    """
    if not _IDENTIFIER.fullmatch(value):
        raise not_found(what)
    return value


def validate(model: type[B], body: Any) -> B:
    """Check a body that Powertools did not: the same errors as it raises.

    Raises
    ------
    RequestValidationError
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(found) from error


def reply(status: int, body: contract.Answer, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a document of the contract."""
    return text(status, "application/json", body.json_body(), headers)


def text(status: int, content_type: str, body: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a text, compressed if it is worth it and the client takes gzip."""
    return Response(
        status, content_type, body, headers=dict(headers or {}), compress=len(body) >= COMPRESS_CHARACTERS
    )


def redirect(url: str) -> Response:
    """Send the client to a presigned URL."""
    return Response(302, body="", headers={"Location": url})


def _drop_body(answer: dict[str, Any], headers: dict[str, list[str]]) -> None:
    """Turn the answer to a GET into that to a HEAD: the same headers, its length among them, and no body."""
    body = answer.get("body") or ""
    size = len(base64.b64decode(body)) if answer.get("isBase64Encoded") else len(body.encode())
    if answer["statusCode"] not in {204, 304}:
        headers.setdefault("Content-Length", [str(size)])
    answer |= {"body": "", "isBase64Encoded": False}


def _split(path: str, resource: str) -> tuple[str, str]:
    """Split a path before the segments that belong to the API's resource.

    Examples
    --------
    >>> _split("/Prod/api/audio/X/", "/api/audio/{audio_id}")
    ('/Prod', '/api/audio/X')
    >>> _split("/", "/")
    ('', '/')
    """
    segments = path.strip("/").split("/") if path.strip("/") else []
    count = len([part for part in resource.split("/") if part])
    before, own = segments[: len(segments) - count], segments[len(segments) - count :]
    return "".join(f"/{part}" for part in before), "/" + "/".join(own)


def _normalised(event: Mapping[str, Any], multipart: bool) -> dict[str, Any]:
    """Bring an event into the one form that the routes expect.

    - A base path mapping of a custom domain is part of `path`: routes do not know it.
    - Only multipart bodies where they are expected (`multipart`) are not JSON here, whatever the client calls
      them (`curl -d` says form). Powertools would parse others itself, and fail on those without a boundary.
    - The routes of GET answer HEAD.
    - With every media type declared binary, JSON arrives in base64 as well. What does not decode is left as
      it is: that is not a JSON object either.
    """
    copy = {**event, "path": _split(event["path"], event["resource"])[1]}
    if event["httpMethod"] == "HEAD":
        copy["httpMethod"] = "GET"
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if multipart and headers.get("content-type", "").strip().lower().startswith("multipart/"):
        return copy
    json_type = "application/json"
    for name in ("headers", "multiValueHeaders"):
        kept = {k: v for k, v in (event.get(name) or {}).items() if k.lower() != "content-type"}
        copy[name] = kept | {"content-type": json_type if name == "headers" else [json_type]}
    if event.get("isBase64Encoded") and event.get("body"):
        try:
            copy["body"] = base64.b64decode(event["body"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            copy["body"] = event["body"]
        copy["isBase64Encoded"] = False
    return copy


def _json_object(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    def number(digits: str) -> float:
        value = float(digits)
        return int(value) if value.is_integer() else value  # to JSON Schema, 2.0 is an integer

    try:
        body = json.loads(text, parse_constant=refuse, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_body", f"The body is not valid JSON: {error}.") from error
    if not isinstance(body, dict):
        raise Problem(400, "invalid_body", "The body must be a JSON object.")
    return body
