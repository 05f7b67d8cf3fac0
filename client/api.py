"""The HTTP API as a client sees it: requests that are sent again, and problems in one line."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from client.failure import STALE, Exit, Failure, file_failure, stale_line
from client.files import file_name
from client.settings import Deployment

TIMEOUT_SECONDS = 60
PIECE_BYTES = 1 << 17
PAUSES_SECONDS = (0.5, 2.0, 5.0)
"""Pauses before a request is sent again; the API may ask for longer ones."""
LONGEST_PAUSE_SECONDS = 30.0
AGAIN = {429, 502, 503, 504}
"""Answers after which the same request may well succeed."""
FULL = "too_many_unfinished"
"""The code of the problem that as many jobs of a tenant are unfinished as may be."""

_OF_KEYS = {401, 403}
_NOT_THERE = {404, 410}


class Reply(NamedTuple):
    """An answer of the API."""

    status: int
    headers: Message
    document: Any


class File(NamedTuple):
    """A file that is being downloaded.

    Attributes
    ----------
    name : str
        As the deployment calls it, without any folder.
    size : int or None
        Bytes.
    pieces : iterator of bytes
        Its content.
    """

    name: str
    size: int | None
    pieces: Iterator[bytes]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirect to the bucket without the key, which is the API's alone."""

    def redirect_request(self, request: urllib.request.Request, *more: Any) -> urllib.request.Request | None:
        following = super().redirect_request(request, *more)
        if following and urlsplit(following.full_url).netloc != urlsplit(request.full_url).netloc:
            following.remove_header("Authorization")
        return following


class Api:
    """One deployment.

    Parameters
    ----------
    deployment : Deployment
        Its address, the stage included, and the key.

    Attributes
    ----------
    await_room : callable or None
        What to do with a `FULL` before the same request is sent again. It waits, or raises. None raises.
    sent_at : float
        When the last piece of a file was sent to the bucket, by the monotonic clock.

    Examples
    --------
    >>> Api(Deployment("http://127.0.0.1:8000", None)).get("/api/health")["status"]      # doctest: +SKIP
    'ok'
    """

    def __init__(self, deployment: Deployment) -> None:
        self.url, self._key = deployment.url, deployment.key
        self.await_room: Callable[[Failure], None] | None = None
        self.sent_at = 0.0
        self._opener = urllib.request.build_opener(_Redirects)

    def get(self, path: str, **query: Any) -> Any:
        """Return the document at a path of the API, or at a link that it gave."""
        return self.send("GET", path, **query).document

    def post(self, path: str, body: Any, key: str | None = None) -> Reply:
        """Send a JSON body, once there is room for the job that it asks for.

        The request can be sent again, under its idempotency key, without harm.
        """
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        while True:
            try:
                return self.send("POST", path, body, headers)
            except Failure as failure:
                if failure.code != FULL or self.await_room is None:
                    raise
                self.await_room(failure)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page, the newest first."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: Any
    ) -> Reply:
        """Send a request, several times where it may help, and return the answer.

        Raises
        ------
        Failure
            With the problem's own sentence.
        """
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        with self.open(method, path, data, sent, **query) as answer:
            raw = self._read(answer)
            try:
                document = json.loads(raw) if raw else None
            except ValueError as error:
                raise self._no_backend(f"{method} {path} is answered with no JSON") from error
            return Reply(answer.status, answer.headers, document)

    def open(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """Send a request, and return the response, redirects followed, to be read and closed."""
        prefix = urlsplit(self.url).path
        url = urljoin(self.url, path) if prefix and path.startswith(f"{prefix}/") else self.url + path
        if query:
            url += "?" + urlencode(query)
        # What urllib leaves out and every other client says; without it SAM CLI answers audio as text.
        sent = {"Accept": "*/*", "User-Agent": "music", **(headers or {})}
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        for pause in (*PAUSES_SECONDS, None):
            request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310
            try:
                return self._opener.open(request, timeout=TIMEOUT_SECONDS)
            except urllib.error.HTTPError as error:
                with error:
                    failure = self._problem(error)
                asked = error.headers.get("Retry-After") or "0"
                failure.pause = float(asked) if asked.isascii() and asked.isdigit() else 0.0
                if error.code not in AGAIN or failure.code == FULL or pause is None:
                    raise failure from error
                if failure.pause > LONGEST_PAUSE_SECONDS:
                    raise failure from error
                pause = max(pause, failure.pause)
            except (OSError, http.client.HTTPException) as error:
                if pause is None or not _passing(error):
                    raise self._unreachable(error) from error
            time.sleep(pause)
        raise AssertionError

    def post_file(
        self, upload: dict[str, Any], path: Path, file: BinaryIO, size: int, sent: Callable[[int], object]
    ) -> None:
        """Post a file straight to the bucket, as a presigned upload says.

        Parameters
        ----------
        upload : dict
            `url` and `fields`, as the API answered.
        path : Path
            What the user calls the file.
        file : binary file
            Its content, from the beginning on.
        size : int
            Bytes that were announced; a file that has fewer by now has changed.
        sent : callable
            Hears of each piece's bytes.

        Raises
        ------
        Failure
        """
        boundary = uuid.uuid4().hex
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in upload["fields"].items()
        )
        disposition = 'Content-Disposition: form-data; name="file"; filename="audio"'
        head = f"{fields}--{boundary}\r\n{disposition}\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def pieces() -> Iterator[bytes]:
            yield head
            left = size
            while left:
                try:
                    piece = file.read(min(PIECE_BYTES, left))
                except OSError as error:
                    raise file_failure(path, "read", error) from error
                if not piece:
                    raise Failure(Exit.FILE, f"{path} became shorter while it was sent: try again")
                left -= len(piece)
                yield piece
                self.sent_at = time.monotonic()
                sent(len(piece))
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
            "User-Agent": "music",
        }
        request = urllib.request.Request(upload["url"], pieces(), headers, method="POST")  # noqa: S310
        file.seek(0)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS):
                pass
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(2000).decode("utf-8", "replace")
            code = said.partition("<Code>")[2].partition("</Code>")[0] or error.reason
            again = Exit.UNREACHABLE if error.code >= 500 else Exit.REFUSED
            raise Failure(again, f"the bucket refuses {path}: {code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Failure(Exit.UNREACHABLE, f"the bucket takes no file: {_reason(error)}") from error

    @contextmanager
    def file(self, path: str) -> Iterator[File]:
        """Open a file of the API, or where it redirects to, for the block of a `with`.

        Raises
        ------
        Failure
            Also while the pieces are read, and after the last one where some are missing.
        """
        with self.open("GET", path) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length else None
            yield File(_name(answer.headers), total, self._pieces(answer, total))

    def _pieces(self, answer: Any, total: int | None) -> Iterator[bytes]:
        count = 0
        while piece := self._read(answer, PIECE_BYTES):
            yield piece
            count += len(piece)
        if total is not None and count != total:
            raise Failure(Exit.UNREACHABLE, f"the file broke off after {count} of {total} bytes: try again")

    def _read(self, answer: Any, size: int | None = None) -> bytes:
        try:
            return bytes(answer.read(size))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _problem(self, error: urllib.error.HTTPError) -> Failure:
        """Say what the API refuses, and what to do about it."""
        try:
            document = json.loads(error.read())
            detail, code = str(document["detail"]), str(document["code"])
        except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
            if error.code in _OF_KEYS:
                detail, code = "", ""
            elif error.code in AGAIN or (error.code >= 500 and error.code != http.HTTPStatus.NOT_IMPLEMENTED):
                return Failure(Exit.UNREACHABLE, f"{self.url} answers {error.code} {error.reason}: try later")
            else:
                return self._no_backend(f"it answers {error.code} {error.reason}")
        if error.code in _OF_KEYS:
            hint = "this key is not valid there" if self._key else "a key is needed there"
            where = "give one with --key, as MUSIC_KEY or in the configuration file"
            return Failure(Exit.KEY, f"{self.url}: {hint}: {where}", code)
        if error.code in _NOT_THERE:
            return Failure(Exit.NOT_FOUND, detail, code)
        if error.code >= 500:
            return Failure(Exit.UNREACHABLE, f"{self.url}: {detail}", code)
        if field := document.get("field"):
            detail = detail if str(field) in detail else f"{field}: {detail}"
        if code == STALE:
            link = str((document.get("links") or {}).get("embed", ""))
            detail = stale_line(detail, link.rpartition("/embed")[0].rpartition("/")[2] or "ID")
        return Failure(Exit.REFUSED, detail, code)

    def _no_backend(self, why: str) -> Failure:
        hint = "give another address with --api or as MUSIC_API"
        return Failure(Exit.UNREACHABLE, f"{self.url} is no music generation backend ({why}): {hint}")

    def _unreachable(self, error: Exception) -> Failure:
        hint = "start one with `music serve`, or give another address with --api or as MUSIC_API"
        return Failure(Exit.UNREACHABLE, f"no API answers at {self.url} ({_reason(error)}): {hint}")


def _name(headers: Message) -> str:
    """Return the name that an answer gives its file (RFC 6266): in any script, where both are there.

    Examples
    --------
    >>> headers = Message()
    >>> headers["Content-Disposition"] = "attachment; filename=K_ln.wav; filename*=UTF-8''K%C3%B6ln.wav"
    >>> _name(headers)
    'Köln.wav'
    """
    parameters = headers.get_params([], "content-disposition")
    values = [value for name, value in parameters if name.lower() == "filename"]
    # An extended value is a tuple: its character set, its language and its text.
    values.sort(key=lambda value: not isinstance(value, tuple))
    return file_name(collapse_rfc2231_value(values[0]) if values else "") or "music.wav"


def _passing(error: Exception) -> bool:
    """Return whether a connection may well stand a moment later. One that is refused has nobody to answer."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, ConnectionResetError | TimeoutError | http.client.HTTPException)


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
