"""Which representation of a file a request asks for: preconditions, byte ranges and the media type.

References
----------
.. [1] RFC 9110, "HTTP Semantics", sections 12.5.1 (Accept), 13 (conditional requests) and 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ETAG = re.compile(r'(?:W/)?"[^"]*"')
_RANGE = re.compile(r"bytes=([0-9]{0,100})-([0-9]{0,100})")


def select(method: str, headers: Mapping[str, str], etag: str, size: int) -> tuple[int, range]:
    """Decide what a GET or HEAD of a file is answered with.

    Parameters
    ----------
    method : str
        ``"GET"``; a range is ignored on any other.
    headers : mapping
        Request headers, names in lower case.
    etag : str
        The file's strong entity tag, in its quotes.
    size : int
        Bytes of the file.

    Returns
    -------
    int
        200, 206, 304 (`If-None-Match`), 412 (`If-Match`) or 416.
    range
        The bytes to send. Empty with 304, 412 and 416. Of several ranges in one request none is honoured: the
        answer is then the whole file, as a server may choose.

    Examples
    --------
    >>> select("GET", {"range": "bytes=-3"}, '"a"', 10)
    (206, range(7, 10))
    >>> select("GET", {"range": "bytes=10-"}, '"a"', 10)
    (416, range(0, 0))
    >>> select("GET", {"range": "bytes=0-4", "if-range": '"b"'}, '"a"', 10)
    (200, range(0, 10))
    """
    nothing, whole = range(0), range(size)
    if (wanted := headers.get("if-match")) and wanted.strip() != "*" and etag not in _ETAG.findall(wanted):
        return 412, nothing
    if known := headers.get("if-none-match"):
        tags = [tag.removeprefix("W/") for tag in _ETAG.findall(known)]
        if known.strip() == "*" or etag in tags:
            return 304, nothing
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if method != "GET" or not match or headers.get("if-range", etag).strip() != etag:
        return 200, whole
    first, last = match.groups()
    if not first:
        if not last:
            return 200, whole
        part = range(max(size - int(last), 0), size)
    else:
        if last and int(last) < int(first):
            return 200, whole
        part = range(int(first), min(int(last) + 1, size) if last else size)
    return (206, part) if len(part) else (416, nothing)


def prefers_json(accept: str) -> bool:
    """Tell whether a client would rather have JSON than a file.

    What it accepts equally it gets as a file, as libraries send ``application/json, */*`` by themselves.

    Examples
    --------
    >>> prefers_json("application/json"), prefers_json("application/json, text/plain, */*"), prefers_json("")
    (True, False, False)
    """
    weights = {"json": 0.0, "file": 0.0}
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if match := re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", parameter):
                weight = float(match[1])
        if kind == "application/json":
            weights["json"] = weight
        elif kind in {"*/*", "application/octet-stream"} or kind.startswith("audio/"):
            weights["file"] = max(weights["file"], weight)
    return weights["json"] > weights["file"]
