"""S3 Vectors, which MiniStack lacks: moto's, behind the emulator's own judgement of who may do what.

Each request is put to MiniStack's `SimulatePrincipalPolicy`, with the role of the function that sent it, the
action that it needs and the index that it names. A denial reads as AWS writes it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from threading import Thread
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from local.aws.front import Front
from local.aws.provision import client
from local.aws.signature import ACCESS_KEY, SECRET_KEY
from local.http_server import HttpServer
from local.template import ACCOUNT, REGION
from tests.deployed.ministack import Certificate
from tests.support.images import docker


class VectorsFront:
    """The WSGI application.

    Parameters
    ----------
    clients : callable
        Makes an AWS client of the emulator for a service name.
    """

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self._clients = clients
        self._front = Front(ACCOUNT)
        self._roles: dict[str, str] = {}
        self.seen: set[tuple[str, str]] = set()
        """Role name and action of every request that was allowed."""

    def create_index(self, bucket: str, index: str) -> None:
        """Create a vector bucket with an index, as the template declares them."""
        with self._asked() as s3vectors:
            s3vectors.create_vector_bucket(vectorBucketName=bucket)
            definition = {"dataType": "float32", "dimension": 512, "distanceMetric": "cosine"}
            s3vectors.create_index(vectorBucketName=bucket, indexName=index, **definition)

    def delete_index(self, bucket: str, index: str) -> None:
        """Delete an index and its bucket, which outlive their stack."""
        with self._asked() as s3vectors:
            s3vectors.delete_index(vectorBucketName=bucket, indexName=index)
            s3vectors.delete_vector_bucket(vectorBucketName=bucket)

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """Serve moto at an address of its own, for as long as it is asked by us."""
        with closing(HttpServer("127.0.0.1", 0)) as server:
            server.start(self._front)
            yield client("s3vectors", server.url)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request, or refuse it."""
        request = Request(environ)
        body = request.get_data()
        signed = re.search(
            r"Credential=([^/]+)/\d+/[^/]+/s3vectors/", request.headers.get("Authorization", "")
        )
        role = self._role(signed[1]) if signed else None
        if role is None:
            return _denied("Request is not signed by a function")(environ, start_response)
        asked = json.loads(body or b"{}")
        index = f"bucket/{asked.get('vectorBucketName')}/index/{asked.get('indexName')}"
        resource = f"arn:aws:s3vectors:{REGION}:{ACCOUNT}:{index}"
        for action in _actions(request.path.lstrip("/"), asked):
            if not self._allowed(role, action, resource):
                message = (
                    f"User: {role} is not authorized to perform: {action} on resource: {resource} "
                    f"because no identity-based policy allows the {action} action"
                )
                return _denied(message)(environ, start_response)
            self.seen.add((role.rpartition("/")[2], action))
        environ["wsgi.input"] = io.BytesIO(body)
        return self._front(_signed_anew(environ, request.url, body), start_response)

    def _role(self, access_key: str) -> str | None:
        """Return the role of the function whose containers were given an access key."""
        if access_key not in self._roles:
            for container in docker("ps", "--quiet", "--filter", "label=ministack=lambda").split():
                shown = json.loads(docker("inspect", "--format", "{{json .Config.Env}}", container))
                variables = dict(line.split("=", 1) for line in shown)
                if variables.get("AWS_ACCESS_KEY_ID") == access_key:
                    function = variables["AWS_LAMBDA_FUNCTION_NAME"]
                    found = self._clients("lambda").get_function_configuration(FunctionName=function)
                    self._roles[access_key] = found["Role"]
                    break
        return self._roles.get(access_key)

    def _allowed(self, role: str, action: str, resource: str) -> bool:
        answer = self._clients("iam").simulate_principal_policy(
            PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
        )
        return [result["EvalDecision"] for result in answer["EvaluationResults"]] == ["allowed"]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def served(front: VectorsFront, host: str, port: int, certificate: Certificate) -> Iterator[None]:
    """Serve it over TLS."""
    tls = (str(certificate.path), str(certificate.key))
    server = make_server(host, port, front, threaded=True, ssl_context=tls, request_handler=_Handler)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _signed_anew(environ: dict[str, Any], url: str, body: bytes) -> dict[str, Any]:
    """Return a request that was let in as the local AWS takes it: signed with its own key pair."""
    request = AWSRequest("POST", url, data=body)
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3vectors", REGION).add_auth(request)
    kept = {name: value for name, value in environ.items() if not name.startswith("HTTP_X_AMZ")}
    kept["HTTP_AUTHORIZATION"] = request.headers["Authorization"]
    return {**kept, "HTTP_X_AMZ_DATE": request.headers["X-Amz-Date"]}


def _actions(operation: str, asked: dict[str, Any]) -> list[str]:
    """Return the permissions that a request needs: a query that filters also reads what it filters by."""
    actions = [f"s3vectors:{operation}"]
    if operation == "QueryVectors" and (asked.get("filter") or asked.get("returnMetadata")):
        actions.append("s3vectors:GetVectors")
    return actions


def _denied(message: str) -> Response:
    return Response(
        json.dumps({"message": message}),
        403,
        {"x-amzn-ErrorType": "AccessDeniedException"},
        content_type="application/json",
    )
