"""Audio in S3: server-made keys, presigned access, and writes that never replace what is there.

Keys: ``uploads/{tenant}/{audio_id}``; for players ``derived/{tenant}/{audio_id}/{revision}.mp3`` and
``.json``; ``generated/{tenant}/{generation_id}.{ext}`` and, until that is there, its snapshots
``generated/{tenant}/{generation_id}/{step}-{attempt}``; each of its candidates
``candidates/{tenant}/{generation_id}/{n}.flac``, the same in other formats, and what it is made of in
``{n}.json``. A user's file name is data and never part of a key.
"""

from __future__ import annotations

import base64
import json
import re
import time
import unicodedata
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import random
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from backend.settings import MAX_UPLOAD_BYTES, Settings, client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOADS = "uploads"
DERIVED = "derived"
GENERATED = "generated"
CANDIDATES = "candidates"
RECEIPTS = "receipts"
"""Where SageMaker writes what came of each request to the endpoint. It expires after a day, unread."""
FORMATS = ("wav", "flac", "mp3", "ogg")
"""Output formats; each is its own file name extension."""
PREVIEW_TYPE = "audio/mpeg"
"""Content type of a source track's preview."""
UPLOAD_SECONDS = 900
"""Seconds for which a presigned upload may begin."""
DOWNLOAD_SECONDS = 900
"""Seconds for which a presigned download may begin."""
MAX_METADATA_BYTES = 2048
"""Bytes that S3 allows for the keys and values of user metadata together."""

_UPLOAD_KEY = re.compile(rf"{UPLOADS}/([A-Za-z0-9._-]{{1,64}})/([0-9A-HJKMNP-TV-Z]{{26}})")
_GENERATED_KEY = re.compile(
    rf"{GENERATED}/([A-Za-z0-9._-]{{1,64}})/([0-9A-HJKMNP-TV-Z]{{26}})"
    rf"(?:\.(?:{'|'.join(FORMATS)})|/[0-9]{{8}}-[0-9]{{4}})"
)
_DERIVED_KEY = re.compile(
    rf"{DERIVED}/([A-Za-z0-9._-]{{1,64}})/([0-9A-HJKMNP-TV-Z]{{26}})/([0-9a-f]{{16}})\.(?:mp3|json)"
)
_CANDIDATE_KEY = re.compile(
    rf"{CANDIDATES}/([A-Za-z0-9._-]{{1,64}})/([0-9A-HJKMNP-TV-Z]{{26}})/([0-9]{{1,2}})"
    rf"\.({'|'.join(FORMATS)}|json)"
)
_CONFLICT_TRIES = 5
# All headers of a response have 10 kB in API Gateway, and a character may take 12 bytes of one.
_MAX_NAME, _MAX_EXTENSION = 150, 10
_HIDDEN = {"Cc", "Cf", "Zl", "Zp"}  # categories of Unicode


def pack(report: Mapping[str, Any]) -> str:
    """Turn a report into metadata of an object: compressed, because S3 takes 2 KB and only ASCII."""
    return base64.b64encode(zlib.compress(json.dumps(report, separators=(",", ":")).encode(), 9)).decode()


def unpack(packed: str) -> dict[str, Any]:
    """Undo `pack`."""
    report: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return report


class ObjectMissing(Exception):
    """There is no such object."""


class ObjectChanged(Exception):
    """The object is no longer the one whose ETag was given."""


@dataclass(frozen=True)
class StoredObject:
    """What a HEAD request tells."""

    key: str
    etag: str
    size: int
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class ListedObject:
    """What a listing tells; `modified` is in epoch seconds."""

    key: str
    modified: float


@dataclass(frozen=True)
class DirectUpload:
    """A presigned POST: send `fields` and then the file, as multipart form data, to `url`."""

    url: str
    fields: dict[str, str]
    expires_at: str


@dataclass(frozen=True)
class DirectDownload:
    """A presigned GET or HEAD: no header is needed, and ranges are answered."""

    url: str
    expires_at: str


def upload_key(tenant: str, audio_id: str) -> str:
    """Return the key of a source track."""
    return f"{UPLOADS}/{tenant}/{audio_id}"


def generated_key(tenant: str, generation_id: str, extension: str) -> str:
    """Return the key of a finished generation, which is the same for every attempt."""
    return f"{GENERATED}/{tenant}/{generation_id}.{extension}"


def snapshot_key(tenant: str, generation_id: str, step: int, attempt: int) -> str:
    """Return the key of what a generation has made after a step: the further it is, the later it sorts."""
    return f"{GENERATED}/{tenant}/{generation_id}/{step:08d}-{attempt:04d}"


def candidate_key(tenant: str, generation_id: str, candidate: int, extension: str) -> str:
    """Return the key of a candidate's file in a format; with ``json``, of what it is made of."""
    return f"{CANDIDATES}/{tenant}/{generation_id}/{candidate}.{extension}"


def parse_candidate_key(key: str) -> tuple[str, str, int, str] | None:
    """Return tenant, generation id, candidate and extension of such a key, None for any other."""
    match = _CANDIDATE_KEY.fullmatch(key)
    return (match[1], match[2], int(match[3]), match[4]) if match else None


def preview_key(tenant: str, audio_id: str, revision: str) -> str:
    """Return the key of a source track's preview; the revision is of what it is made from and by."""
    return f"{DERIVED}/{tenant}/{audio_id}/{revision}.mp3"


def analysis_key(tenant: str, audio_id: str, revision: str) -> str:
    """Return the key of the document that lies beside a source track's preview."""
    return f"{DERIVED}/{tenant}/{audio_id}/{revision}.json"


def parse_derived_key(key: str) -> tuple[str, str, str] | None:
    """Return tenant, audio id and revision of the key of a preview or its document, None for any other."""
    match = _DERIVED_KEY.fullmatch(key)
    return (match[1], match[2], match[3]) if match else None


def parse_upload_key(key: str) -> tuple[str, str] | None:
    """Return tenant and audio id of a source track's key, None for any other key.

    Examples
    --------
    >>> parse_upload_key("uploads/default/01ARZ3NDEKTSV4RRFFQ69G5FAV")
    ('default', '01ARZ3NDEKTSV4RRFFQ69G5FAV')
    >>> parse_upload_key("uploads/somebody else's file.mp3")
    """
    match = _UPLOAD_KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def parse_generated_key(key: str) -> tuple[str, str] | None:
    """Return tenant and generation id of the key of a result or a snapshot, None for any other key."""
    match = _GENERATED_KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def without_hidden_characters(name: str) -> str:
    """Return a file's name without the characters that nobody sees (Unicode's categories Cc, Cf, Zl and Zp).

    They turn the direction of writing, which hides an extension, make two names look alike, or end a line.

    Examples
    --------
    >>> without_hidden_characters("evil\u202egpj.exe")
    'evilgpj.exe'
    """
    return "".join(character for character in name if unicodedata.category(character) not in _HIDDEN)


def content_disposition(filename: str, disposition: str = "attachment") -> str:
    """Return a Content-Disposition value that names a file, in any script.

    Carries a plain ASCII name for old clients (RFC 6266) and, where it differs, the real one (RFC 5987).

    Examples
    --------
    >>> content_disposition("Köln.wav")
    'attachment; filename="K_ln.wav"; filename*=UTF-8\\'\\'K%C3%B6ln.wav'
    """
    # Separators and dots would name a folder.
    name = re.sub(r"[/\\]", "_", without_hidden_characters(filename))
    stem, dot, extension = name.rpartition(".")
    if len(extension) <= _MAX_EXTENSION:
        name = stem[: _MAX_NAME - len(dot + extension)] + dot + extension
    name = name[:_MAX_NAME].strip(" .") or "audio"
    plain = re.sub(r'[^\x20-\x7e]|["%]', "_", name)
    value = f'{disposition}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"


class Storage:
    """The bucket.

    Parameters
    ----------
    bucket : str
        Bucket name.
    s3 : S3Client, optional
        Client to use; one with bounded retries and regional SigV4 presigning is made when absent.
    """

    def __init__(self, bucket: str, s3: S3Client | None = None) -> None:
        self.bucket = bucket
        self._s3: S3Client = s3 or client("s3")

    @classmethod
    def from_settings(cls, settings: Settings) -> Storage:
        """Make the bucket that a deployment has."""
        return cls(settings.bucket_name)

    def presign_upload(
        self,
        key: str,
        *,
        content_type: str,
        min_bytes: int = 1,
        max_bytes: int = MAX_UPLOAD_BYTES,
        seconds: int = UPLOAD_SECONDS,
    ) -> DirectUpload:
        """Allow one file to be posted straight to the bucket.

        The policy fixes the key, the content type and the range of sizes, and is short-lived.
        """
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        signed = self._s3.generate_presigned_post(
            self.bucket,
            key,
            Fields={"Content-Type": content_type},
            Conditions=[{"Content-Type": content_type}, ["content-length-range", min_bytes, max_bytes]],
            ExpiresIn=seconds,
        )
        return DirectUpload(signed["url"], signed["fields"], expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def presign_download(
        self,
        key: str,
        *,
        filename: str,
        content_type: str,
        disposition: str = "attachment",
        method: str = "GET",
        seconds: int = DOWNLOAD_SECONDS,
    ) -> DirectDownload:
        """Allow an object to be read straight from the bucket under a file name, for a short while.

        Parameters
        ----------
        disposition : str
            ``"attachment"`` for a file to save, ``"inline"`` for one to play.
        method : str
            ``"GET"`` or ``"HEAD"``; a signature holds for one of them.
        """
        parameters = {
            "Bucket": self.bucket,
            "Key": key,
            "ResponseContentDisposition": content_disposition(filename, disposition),
            "ResponseContentType": content_type,
        }
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        operation = "head_object" if method == "HEAD" else "get_object"
        url = self._s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
        return DirectDownload(url, expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def head(self, key: str) -> StoredObject | None:
        """Describe an object, None when there is none."""
        try:
            answer = self._s3.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return StoredObject(
            key,
            answer["ETag"],
            answer["ContentLength"],
            answer.get("ContentType", "application/octet-stream"),
            answer["Metadata"],
        )

    def page(self, after: str | None, limit: int) -> tuple[list[ListedObject], str | None]:
        """List objects in the order of their keys, a page at a time.

        Parameters
        ----------
        after : str or None
            Begin after this key; None begins with the first one.
        limit : int
            How many, 1 to 1000.

        Returns
        -------
        list of ListedObject
        str or None
            Where the next page begins; None after the last one.
        """
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        answer = self._s3.list_objects_v2(Bucket=self.bucket, MaxKeys=limit, **start)
        found = [
            ListedObject(item["Key"], item["LastModified"].timestamp()) for item in answer.get("Contents", [])
        ]
        return found, found[-1].key if answer["IsTruncated"] else None

    def has_generated(self, tenant: str, generation_id: str) -> bool:
        """Return whether a generation's result is there, in any format."""
        prefix = f"{GENERATED}/{tenant}/{generation_id}."
        return self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)["KeyCount"] > 0

    def read(self, key: str, etag: str | None = None, part: range | None = None) -> bytes:
        """Return an object's bytes, or those of a part that is not empty.

        Raises
        ------
        ObjectMissing, ObjectChanged
            No such object, or not the one with this `etag`.
        """
        with closing(self._get(key, etag, part)["Body"]) as body:
            data: bytes = body.read()
        return data

    def download(self, key: str, file: IO[bytes], etag: str | None = None) -> None:
        """Copy an object into a file, in pieces.

        Raises
        ------
        ObjectMissing, ObjectChanged
            No such object, or not the one with this `etag`.
        """
        with closing(self._get(key, etag)["Body"]) as body:
            for piece in body.iter_chunks(1 << 20):
                file.write(piece)
        file.flush()

    def put(
        self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Write an object unless there is one already.

        Returns
        -------
        str or None
            The ETag of what this call wrote; None when an earlier attempt had (its object stays: adopt it).

        Raises
        ------
        ValueError
            When `metadata` is more than S3 takes.
        """
        metadata = dict(metadata or {})
        if (
            sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
            > MAX_METADATA_BYTES
        ):
            raise ValueError(f"metadata of {key} is above S3's {MAX_METADATA_BYTES} bytes")
        for tried in range(_CONFLICT_TRIES):
            try:
                answer = self._s3.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentType=content_type,
                    Metadata=metadata,
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if _status(error) == 412:
                    return None
                # 409: a delete or another conditional write of the same key is under way.
                if _status(error) != 409 or tried == _CONFLICT_TRIES - 1:
                    raise
                time.sleep(random() * 0.2 * 2**tried)
            else:
                return answer["ETag"]
        raise AssertionError("unreachable")

    def keep(self, key: str, body: bytes, content_type: str) -> int:
        """Write an object unless there is one already, and return the bytes of the one that is there."""
        if self.put(key, body, content_type):
            return len(body)
        stored = self.head(key)
        return stored.size if stored else 0  # 0: who deleted it meanwhile has deleted its record, too

    def delete(self, key: str) -> None:
        """Delete an object; no error when there is none."""
        self._s3.delete_object(Bucket=self.bucket, Key=key)

    def candidates(self, tenant: str, generation_id: str) -> dict[str, int]:
        """Return the bytes of all that is kept of a generation's candidates, by key."""
        return {item["Key"]: item["Size"] for item in self._list(f"{CANDIDATES}/{tenant}/{generation_id}/")}

    def delete_derived(self, tenant: str, audio_id: str, but: str | None = None) -> None:
        """Delete the previews of a source track and their documents, but for those of one revision."""
        found = self._keys(f"{DERIVED}/{tenant}/{audio_id}/")
        self.delete_all([key for key in found if key.partition(".")[0].rpartition("/")[2] != but])

    def snapshots(self, tenant: str, generation_id: str) -> list[str]:
        """Return the keys of a generation's snapshots, the furthest first."""
        return self._keys(f"{GENERATED}/{tenant}/{generation_id}/")[::-1]

    def delete_generated(self, tenant: str, generation_id: str) -> None:
        """Delete whatever a generation has written, in any format, its snapshots and its candidates."""
        keys = [generated_key(tenant, generation_id, extension) for extension in FORMATS]
        kept = list(self.candidates(tenant, generation_id))
        self.delete_all(keys + self.snapshots(tenant, generation_id) + kept)

    def delete_all(self, keys: list[str]) -> None:
        """Delete up to 1000 objects; no error when there are none."""
        if not keys:
            return
        answer = self._s3.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        if answer.get("Errors"):
            raise RuntimeError(f"S3 did not delete {answer['Errors']}")

    def _keys(self, prefix: str) -> list[str]:
        """List the keys of a folder, which has a few objects at most, in their order."""
        return [item["Key"] for item in self._list(prefix)]

    def _list(self, prefix: str) -> list[Any]:
        return list(self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", []))

    def _get(self, key: str, etag: str | None, part: range | None = None) -> Any:
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        if part is not None:
            condition["Range"] = f"bytes={part.start}-{part.stop - 1}"
        try:
            return self._s3.get_object(Bucket=self.bucket, Key=key, **condition)
        except ClientError as error:
            if _status(error) == 404:
                raise ObjectMissing(key) from error
            if _status(error) == 412:
                raise ObjectChanged(key) from error
            raise


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
