"""API Gateway (REST API, Lambda proxy integration) as a WSGI application.

Routes and gateway responses are the template's. Requests come as if through a custom domain: the stage is in
`requestContext.stage`, but not in the path.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.wrappers import Request, Response

from local.authorizer import Authorizers, Refused
from local.invoke import InvocationError, Invoker
from local.logs import Log
from local.template import ACCOUNT, Deployment, Route

MAX_REQUEST_BYTES = 10 * 1024 * 1024
"""Of a request's body, before base64. Lambda's own limit of 6 MB comes after it."""
INTEGRATION_SECONDS = 29.0
TOO_LARGE = "Request Too Long"
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
"""What `ANY` stands for."""


class GatewayError(Exception):
    """An error that API Gateway itself answers: type of gateway response, default status and message."""

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(message)
        self.kind, self.status, self.message = kind, status, message


class ForeignOrigin(Exception):
    """A page asks whose origin is neither the API's own nor allowed; the message is that origin."""


class Gateway:
    """The WSGI application of the API.

    AWS leaves it to browsers what pages of other origins see. Here a page that the developer happens to visit
    does not even reach a function: forms need nobody's leave to be sent.

    Parameters
    ----------
    deployment : Deployment
        Routes, gateway responses and stage.
    invoker : Invoker
        Runs the functions.
    log : Log
        Gets one line for each request.
    integration_seconds : float
        How long a function may take to answer.
    """

    def __init__(
        self,
        deployment: Deployment,
        invoker: Invoker,
        log: Log,
        *,
        integration_seconds: float = INTEGRATION_SECONDS,
    ) -> None:
        self._deployment, self._invoker, self._log = deployment, invoker, log
        self._seconds = integration_seconds
        self._authorizers = Authorizers(deployment, invoker, log)
        self._threads = ThreadPoolExecutor(256, thread_name_prefix="integration")
        methods: dict[str, dict[str, Route]] = {}
        for route in deployment.routes:
            methods.setdefault(route.path, {})[route.method] = route
        # A literal segment wins over a parameter, as in API Gateway.
        self._resources = [
            (_pattern(path), methods[path]) for path in sorted(methods, key=lambda path: path.count("{"))
        ]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        start = time.monotonic()
        request, request_id = Request(environ), str(uuid.uuid4())
        try:
            self._check_origin(request)
            response = self._integrate(request, request_id)
        except ForeignOrigin as error:
            response = _foreign(error)
        except GatewayError as error:
            response = self._gateway_response(error, request, request_id)
        response.headers["x-amzn-RequestId"] = request_id
        milliseconds = (time.monotonic() - start) * 1000
        level = "INFO" if response.status_code < 400 else "WARNING" if response.status_code < 500 else "ERROR"
        target = environ["RAW_URI"]  # as it was sent, encoded
        line = f"{request.method} {target} {response.status_code} {milliseconds:.0f} ms [{request_id[:8]}]"
        self._log.line("gateway", line, level)
        return response(environ, start_response)

    def close(self) -> None:
        """Take no further request."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_origin(self, request: Request) -> None:
        origin, allowed = request.headers.get("Origin"), self._deployment.allowed_origins
        if origin and origin != request.host_url.rstrip("/") and not {origin, "*"}.intersection(allowed):
            raise ForeignOrigin(origin)

    def _integrate(self, request: Request, request_id: str) -> Response:
        body = _read_body(request)
        if body and request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise GatewayError("UNSUPPORTED_MEDIA_TYPE", 415, "Unsupported Media Type")
        route, parameters = self._match(request)
        event = proxy_event(
            request,
            body,
            route,
            parameters,
            request_id,
            stage=self._deployment.stage,
            binary=self._deployment.binary,
        )
        if route.authorizer:
            try:
                authorized = self._authorizers.ask(route.authorizer, event)
            except Refused as error:
                raise GatewayError(error.kind, error.status, str(error)) from error
            event["requestContext"]["authorizer"] = authorized
        future = self._threads.submit(self._invoker.invoke, route.function, event)
        try:
            answer = future.result(timeout=self._seconds)
        except TimeoutError as error:
            raise GatewayError("INTEGRATION_TIMEOUT", 504, "Endpoint request timed out") from error
        except InvocationError as error:
            if error.kind == "RequestEntityTooLargeException":
                raise GatewayError("REQUEST_TOO_LARGE", 413, TOO_LARGE) from error
            self._log.line("gateway", f"{route.function} failed: {error.kind}: {error}", "ERROR")
            raise GatewayError("DEFAULT_5XX", 502, "Internal server error") from error
        try:
            return proxy_response(answer, binary=self._deployment.binary)
        except (TypeError, ValueError, KeyError, AttributeError, binascii.Error) as error:
            self._log.line(
                "gateway", f"malformed Lambda proxy response of {route.function}: {error}", "ERROR"
            )
            raise GatewayError("DEFAULT_5XX", 502, "Internal server error") from error

    def _match(self, request: Request) -> tuple[Route, dict[str, str]]:
        path = request.path.rstrip("/") or "/"  # with a slash at its end it is the same resource
        for pattern, methods in self._resources:
            if match := pattern.fullmatch(path):
                route = methods.get(request.method)
                if route is None and request.method in METHODS:
                    route = methods.get("ANY")
                if route is None:
                    break
                return route, match.groupdict()
        raise GatewayError("MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token")

    def _gateway_response(self, error: GatewayError, request: Request, request_id: str) -> Response:
        responses = self._deployment.gateway_responses
        default = "DEFAULT_5XX" if error.status >= 500 else "DEFAULT_4XX"
        # API Gateway answers this one in its own words, whatever the template says.
        own = error.kind == "REQUEST_TOO_LARGE"
        chosen = {} if own else responses.get(error.kind) or responses.get(default) or {}
        values = {
            "error.messageString": json.dumps(error.message),
            "error.message": error.message,
            "error.responseType": error.kind,
            "requestId": request_id,
            "domainName": request.host,
            "path": request.path,
            "stage": self._deployment.stage,
        }
        body = chosen.get("ResponseTemplates", {}).get(
            "application/json", '{"message":$context.error.messageString}'
        )
        # There is no TLS here.
        body = body.replace("https://$context.domainName", "http://$context.domainName")
        body = re.sub(r"\$context\.(\w+(?:\.\w+)*)", lambda match: values.get(match[1], ""), body)
        response = Response(
            body, int(chosen.get("StatusCode", error.status)), content_type="application/json"
        )
        for name, value in chosen.get("ResponseParameters", {}).get("Headers", {}).items():
            response.headers[name] = value[1:-1]
        response.headers["x-amzn-ErrorType"] = error.kind
        return response


def _foreign(error: ForeignOrigin) -> Response:
    """Answer a page that is not let in; without a header that would let it read this."""
    detail = f"Pages of {str(error)[:200]!r} are not let in: --parameter AllowedOrigins=ORIGIN does that."
    problem = {"type": "about:blank", "title": "Forbidden", "status": 403, "code": "forbidden"}
    return Response(json.dumps({**problem, "detail": detail}), 403, content_type="application/problem+json")


def proxy_event(
    request: Request,
    body: bytes,
    route: Route,
    parameters: dict[str, str],
    request_id: str,
    *,
    stage: str,
    binary: bool,
) -> dict[str, Any]:
    """Return the event (payload format 1.0) that a function gets for a request."""
    now = datetime.now(UTC)
    source, host = request.remote_addr or "127.0.0.1", request.host
    headers = dict(request.headers) | {
        "X-Forwarded-For": source,
        "X-Forwarded-Port": host.rpartition(":")[2] if ":" in host else "80",
        "X-Forwarded-Proto": request.scheme,
        "X-Amzn-Trace-Id": f"Root=1-{int(now.timestamp()):08x}-{uuid.uuid4().hex[:24]}",
    }
    headers.pop("Content-Length", None)
    query = parse_qsl(request.query_string.decode("utf-8", "replace"), keep_blank_values=True)
    many: dict[str, list[str]] = {}
    for name, value in query:
        many.setdefault(name, []).append(value)
    return {
        "resource": route.path,
        "path": request.path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "extendedRequestId": request_id[:16],
            "httpMethod": request.method,
            "identity": {"sourceIp": source, "userAgent": request.headers.get("User-Agent")},
            "path": request.path,
            "protocol": request.environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourceId": "local",
            "resourcePath": route.path,
            "stage": stage,
        },
        "body": _event_body(body, binary=binary),
        "isBase64Encoded": binary and bool(body),
    }


def proxy_response(answer: Any, *, binary: bool) -> Response:
    """Turn a function's answer into an HTTP response.

    Raises
    ------
    TypeError, ValueError, KeyError, AttributeError
        When it is malformed, which API Gateway answers with 502.
    """
    known = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    if answer.keys() - known:
        raise ValueError(f"unknown members {sorted(answer.keys() - known)}")
    body = answer.get("body")
    if body is not None and not isinstance(body, str):
        raise TypeError(f"the body is no text but {type(body).__name__}")
    data = (body or "").encode()
    if answer.get("isBase64Encoded") and binary:
        data = base64.b64decode(data, validate=True)
    response = Response(data, status=int(answer["statusCode"]))
    response.headers["Content-Type"] = "application/json"
    merged = {name: [value] for name, value in (answer.get("headers") or {}).items()}
    merged |= dict((answer.get("multiValueHeaders") or {}).items())
    for name, values in merged.items():
        response.headers.setlist(name, [str(value) for value in values])
    return response


def _event_body(body: bytes, *, binary: bool) -> str | None:
    if not body:
        return None
    return base64.b64encode(body).decode() if binary else body.decode("utf-8", "replace")


def _read_body(request: Request) -> bytes:
    """Read the body; of one that is too large, read on to the end, or the client would not see the answer."""
    body, size = bytearray(), 0
    while piece := request.stream.read(1 << 20):
        size += len(piece)
        if size <= MAX_REQUEST_BYTES:
            body += piece
    if size > MAX_REQUEST_BYTES:
        raise GatewayError("REQUEST_TOO_LARGE", 413, TOO_LARGE)
    return bytes(body)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
