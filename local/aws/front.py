"""The AWS endpoint of the local stack: moto, and in front of it what moto leaves out.

- Signatures are checked: in headers, presigned URLs and POST forms. Who signs nothing is refused.
- A browser gets the answers that the bucket's CORS rules give it. Where they do not let its page in, nothing
  is done: the one key pair is known to everybody, so that any page could sign.
- moto's own routes, which reset and record, are closed.
- `InvokeEndpointAsync` of SageMaker goes to the endpoints of this machine; moto has an answer that never was.
- `QueryVectors` of S3 Vectors is answered, and `ListVectors` in pages.
- DynamoDB requests, and S3 writes under a condition, run one at a time: moto checks and then writes without a
  lock, so that two racing writes could both win.
"""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request, Response

from local.aws import authorization, cors, presigned, transactions, vectors
from local.aws.authorization import Authorization
from local.aws.data import Data, DataError
from local.aws.signature import ACCESS_KEY
from local.template import REGION


class Front:
    """The WSGI application of the local AWS.

    Parameters
    ----------
    account : str
        Account that everything belongs to.
    """

    def __init__(self, account: str) -> None:
        self.cors_rules: dict[str, list[dict[str, Any]]] = {}
        """CORS rules by bucket name."""
        self.invoke: Callable[[Request], Response | None] = lambda request: None
        """Answers what is for an endpoint of SageMaker, and None for any other request."""
        self.data: Data | None = None
        """What keeps the changes, each before its request is answered."""
        self._account = account
        transactions.install()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._dynamodb, self._conditional_put = threading.Lock(), threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        signed = authorization.read(request)
        if request.path.startswith(_OF_MOTO):
            return _s3_error(presigned.S3Error(403, "AccessDenied", "Access Denied"))
        if signed is None or signed.service == "s3":
            return self._s3(request, signed)
        try:
            request = signed.check(request)
        except authorization.Refused as error:
            return _json_error(error.status, error.code, error.message)
        if "Origin" in request.headers:
            return _json_error(403, "AccessDeniedException", "Pages may use the bucket alone.")
        if signed.service == "s3vectors" and request.path in _VECTORS:
            return self._vectors(request)
        if signed.service == "sagemaker" and (response := self.invoke(request)):
            return response
        if signed.service == "dynamodb":
            with self._dynamodb:
                return self._forward(request, signed.service)
        return self._forward(request, signed.service)

    def _s3(self, request: Request, signed: Authorization | None) -> Response:
        bucket = request.path.lstrip("/").partition("/")[0]
        origin, method = request.headers.get("Origin"), request.method
        preflight = method == "OPTIONS"
        try:
            if preflight:
                method = request.headers.get("Access-Control-Request-Method", "")
                asked = request.headers.get("Access-Control-Request-Headers", "")
                names = [name.strip() for name in asked.split(",") if name.strip()]
                allowed = cors.response_headers(self.cors_rules.get(bucket, []), origin or "", method, names)
                if allowed is None:
                    message = "CORSResponse: This CORS request is not allowed."
                    raise presigned.S3Error(403, "AccessForbidden", message)
                return Response(status=200, headers=allowed)
            if origin and cors.response_headers(self.cors_rules.get(bucket, []), origin, method) is None:
                raise presigned.S3Error(403, "AccessForbidden", "The bucket lets no page of this origin in.")
            response = self._s3_answer(request, bucket, signed)
        except presigned.S3Error as error:
            response = _s3_error(error)
        if origin and not preflight:
            response.headers.extend(
                cors.response_headers(self.cors_rules.get(bucket, []), origin, method) or {}
            )
        return response

    def _s3_answer(self, request: Request, bucket: str, signed: Authorization | None) -> Response:
        if signed:
            try:
                request = signed.check(request)
            except authorization.Refused as error:
                raise presigned.S3Error(error.status, error.s3_code, error.message) from error
            if _is_conditional_put(request):
                with self._conditional_put:
                    return self._forward(request)
            return self._forward(request)
        if "X-Amz-Signature" in request.args:
            presigned.check_url(request)
            return self._forward(request)
        if request.method == "POST" and request.path.strip("/") == bucket:
            return self._post(request, bucket)
        raise presigned.S3Error(403, "AccessDenied", "Access Denied")

    def _post(self, request: Request, bucket: str) -> Response:
        """Store the file of a presigned POST form."""
        form = presigned.read_form(request)
        with form.file:
            presigned.check_form(form, bucket)
            key = form.fields["key"]
            environ = {
                **{name: value for name, value in request.environ.items() if not name.startswith("HTTP_")},
                "HTTP_HOST": request.host,
                "HTTP_AUTHORIZATION": _CHECKED,
                "REQUEST_METHOD": "PUT",
                "PATH_INFO": f"/{bucket}/{key}".encode().decode("latin-1"),
                "RAW_URI": f"/{bucket}/{key}",
                "REQUEST_URI": f"/{bucket}/{key}",
                "CONTENT_LENGTH": str(form.size),
                "CONTENT_TYPE": form.fields.get("content-type", "binary/octet-stream"),
                "wsgi.input": form.file,
            }
            for name, value in presigned.put_headers(form).items():
                if name != "content-type":
                    environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
            stored = self._forward(Request(environ))
        if stored.status_code != 200:
            return stored
        etag, location = stored.headers["ETag"], f"{request.host_url}{bucket}/{key}"
        headers = {"ETag": etag, "Location": location}
        if form.fields.get("success_action_status") != "201":
            return Response(status=int(form.fields.get("success_action_status", 204)), headers=headers)
        members = _xml(Location=location, Bucket=bucket, Key=key, ETag=etag)
        return Response(
            f"<PostResponse>{members}</PostResponse>", 201, headers, content_type="application/xml"
        )

    def _vectors(self, request: Request) -> Response:
        try:
            answer = _VECTORS[request.path](json.loads(request.get_data()), account=self._account)
            return Response(json.dumps(answer), content_type="application/json")
        except vectors.QueryError as error:
            return _json_error(error.status, error.code, error.message)

    def _forward(self, request: Request, service: str = "s3") -> Response:
        if service != "s3":
            request.environ["wsgi.input"] = io.BytesIO(request.get_data())  # `keep` reads it again
        response = Response.from_app(self._moto, request.environ, buffered=True)
        for name in [name for name, _ in response.headers if name.lower().startswith("access-control-")]:
            del response.headers[name]  # depending on its settings, moto allows every origin everything
        if self.data and response.status_code < 400:
            try:
                self.data.keep(service, request)
            except DataError as error:
                if service == "s3":
                    raise presigned.S3Error(500, "InternalError", str(error)) from error
                return _json_error(500, "InternalServerError", str(error))
        return response


_VECTORS = {"/QueryVectors": vectors.query_vectors, "/ListVectors": vectors.list_vectors}
_OF_MOTO = ("/moto-api", "/latest/", "/favicon.ico")
"""Paths that moto answers itself, whoever asks."""
_CHECKED = (
    f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20000101/{REGION}/s3/aws4_request, SignedHeaders=, Signature="
)
"""What moto takes for a signed request: the signature has been checked already."""


def _is_conditional_put(request: Request) -> bool:
    names = ("If-None-Match", "If-Match")
    return request.method == "PUT" and any(name in request.headers for name in names)


def _s3_error(error: presigned.S3Error) -> Response:
    request_id = uuid.uuid4().hex[:16].upper()
    members = _xml(Code=error.code, Message=error.message, **error.details, RequestId=request_id)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{members}</Error>'
    return Response(body, error.status, {"x-amz-request-id": request_id}, content_type="application/xml")


def _json_error(status: int, code: str, message: str) -> Response:
    body = json.dumps({"__type": code, "message": message})
    return Response(body, status, {"x-amzn-ErrorType": code}, content_type="application/json")


def _xml(**members: object) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in members.items())
