"""A folder that keeps what the local AWS holds: records, objects, vectors and messages.

moto holds everything in memory. What a request has changed there is written here before the request is
answered, as it is then: a row for each item, object, vector and message, in one transaction of SQLite.
Whatever ends the stack, what was answered is there at the next start. A machine that loses its power may lose
the last moments.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from moto.dynamodb.exceptions import ResourceNotFoundException
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.s3.exceptions import MissingBucket
from moto.s3.models import FakeKey, s3_backends
from moto.s3vectors.exceptions import IndexNotFound, VectorWrongDimension
from moto.s3vectors.models import s3vectors_backends
from moto.sqs.exceptions import QueueDoesNotExist
from moto.sqs.models import sqs_backends
from werkzeug.wrappers import Request

from local.aws.vectors import index_of
from local.template import REGION

FILE = "stack.sqlite"
VERSION = 1
"""Of the tables below. A folder of another version is refused."""
_TABLES = """
    CREATE TABLE items (place TEXT, name TEXT, item TEXT, PRIMARY KEY (place, name));
    CREATE TABLE objects (
        place TEXT, name TEXT, metadata TEXT, etag TEXT, modified TEXT, body BLOB, PRIMARY KEY (place, name)
    );
    CREATE TABLE vectors (place TEXT, name TEXT, vector TEXT, PRIMARY KEY (place, name));
    CREATE TABLE messages (place TEXT, name TEXT, body TEXT, group_id TEXT, PRIMARY KEY (place, name));
"""
_REPLACE = {
    "items": "INSERT OR REPLACE INTO items VALUES (?, ?, ?)",
    "objects": "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
    "vectors": "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
    "messages": "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)",
}
_REMOVE = {
    "items": "DELETE FROM items WHERE place = ? AND name = ?",
    "objects": "DELETE FROM objects WHERE place = ? AND name = ?",
    "vectors": "DELETE FROM vectors WHERE place = ? AND name = ?",
    "messages": "DELETE FROM messages WHERE place = ? AND name = ?",
}


_GONE = (
    ResourceNotFoundException,
    MissingBucket,
    IndexNotFound,
    VectorWrongDimension,
    QueueDoesNotExist,
)
"""What moto raises where the template has no such table, bucket, index or queue any more."""


class DataError(Exception):
    """The folder cannot be used; the message is the one line to show."""


class Row(NamedTuple):
    """Something that is kept: the table here, where it is in AWS, and its name there.

    The place is a table, a bucket, an index (as JSON) or a queue; the name of an item is its key (as JSON).
    """

    table: str
    place: str
    name: str


class Data:
    """The folder; it is this process's own until `close`.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    account : str
        The account that everything belongs to.

    Raises
    ------
    DataError
        Another stack uses the folder, another version wrote it, or it cannot be used.
    """

    def __init__(self, folder: Path, account: str) -> None:
        self._folder, self._account = folder, account
        self._lock = threading.Lock()
        self._unwritten: set[Row] = set()
        self._messages: set[Row] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / FILE, timeout=0, check_same_thread=False)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from error

    def _open(self) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA auto_vacuum = FULL")
        run("PRAGMA journal_mode = WAL")
        run("BEGIN EXCLUSIVE")  # and for as long as we live
        (version,) = run("PRAGMA user_version").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        self._database.commit()
        if not tables:
            self._database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            self._database.close()
            raise DataError(f"{self._folder} is of version {version}; this local stack reads {VERSION}")

    def _error(self, error: Exception) -> DataError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            return DataError(f"another local stack uses {self._folder}")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return DataError(f"{self._folder / FILE} is damaged: {error}")
        reason = error.strerror if isinstance(error, OSError) else error
        return DataError(f"cannot use {self._folder}: {reason}")

    def close(self) -> None:
        """Let others use the folder."""
        with self._lock:
            self._database.close()

    def load(self) -> dict[str, int]:
        """Put what the folder holds into an AWS whose tables, buckets, indexes and queues are empty.

        Messages are delivered anew. Nobody is notified of objects.

        Returns
        -------
        dict
            How many items, objects, vectors and messages there are.

        Raises
        ------
        DataError
            The folder is damaged, or was written for another template.
        """
        count = dict.fromkeys(_REPLACE, 0)
        restore: dict[str, Callable[..., None]] = {
            "items": self._restore_item,
            "objects": self._restore_object,
            "vectors": self._restore_vector,
            "messages": self._restore_message,
        }
        try:
            for table in _REPLACE:
                for place, *row in self._database.execute(f"SELECT * FROM {table} ORDER BY rowid"):  # noqa: S608
                    count[table] += 1
                    try:
                        restore[table](place, *row)
                    except _GONE as error:
                        message = f"{self._folder} has {table} of {place}, which the template does not"
                        raise DataError(message) from error
            with self._database:  # they have other ids from now on
                self._database.execute("DELETE FROM messages")
                self._messages = self._write_messages()
        except (sqlite3.Error, ValueError) as error:
            raise self._error(error) from error
        return count

    def keep(self, service: str, request: Request) -> None:
        """Write what a request has changed. After an error it is written with the next change.

        Parameters
        ----------
        service : str
            As a signature names it, such as ``"dynamodb"``.
        request : Request
            It has been answered, and its body can still be read.

        Raises
        ------
        DataError
            It cannot be written: the request must not be answered as if it was.
        """
        with self._lock:
            try:
                self._unwritten |= set(self._changed(service, request))
                with self._database:
                    for row in self._unwritten:
                        self._write(row)
                    messages = self._write_messages()
            except sqlite3.Error as error:
                raise self._error(error) from error
            self._unwritten.clear()
            self._messages = messages

    def _changed(self, service: str, request: Request) -> Iterator[Row]:
        if service == "dynamodb":
            yield from self._changed_items(request)
        elif service == "s3vectors" and request.path in {"/PutVectors", "/DeleteVectors"}:
            body = json.loads(request.get_data())
            index = index_of(body, self._account)
            place = json.dumps([index.vectorBucketName, index.index_name])
            for vector in body.get("vectors") or body.get("keys") or []:
                yield Row("vectors", place, vector if isinstance(vector, str) else vector["key"])
        elif service == "s3" and request.method in {"PUT", "POST", "DELETE"}:
            bucket, _, key = request.path.lstrip("/").partition("/")
            if key:
                yield Row("objects", bucket, key)
            elif "delete" in request.args:
                kept = self._database.execute("SELECT name FROM objects WHERE place = ?", (bucket,))
                yield from (Row("objects", bucket, name) for (name,) in kept.fetchall())

    def _changed_items(self, request: Request) -> Iterator[Row]:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        body = json.loads(request.get_data())
        if operation in {"PutItem", "UpdateItem", "DeleteItem"}:
            yield self._item(body["TableName"], body.get("Key") or body["Item"])
        elif operation == "TransactWriteItems":
            for entry in body["TransactItems"]:
                for change in entry.values():
                    yield self._item(change["TableName"], change.get("Key") or change["Item"])
        elif operation == "BatchWriteItem":
            for table, entries in body["RequestItems"].items():
                for entry in entries:
                    for change in entry.values():
                        yield self._item(table, change.get("Key") or change["Item"])

    def _item(self, name: str, attributes: dict[str, Any]) -> Row:
        table = self._dynamodb.get_table(name)
        names = [name for name in (table.hash_key_attr, table.range_key_attr) if name]
        return Row("items", table.name, json.dumps({name: attributes[name] for name in names}))

    def _write(self, row: Row) -> None:
        values = getattr(self, f"_{row.table}_row")(row.place, row.name)
        if values is None:
            self._database.execute(_REMOVE[row.table], (row.place, row.name))
        else:
            self._database.execute(_REPLACE[row.table], (row.place, row.name, *values))

    def _items_row(self, place: str, name: str) -> tuple[Any, ...] | None:
        table = self._dynamodb.get_table(place)
        item = table.get_item(*self._dynamodb.get_keys_value(table, json.loads(name)))
        return (dynamo_json_dump(item.to_json()["Attributes"]),) if item else None

    def _objects_row(self, place: str, name: str) -> tuple[Any, ...] | None:
        stored = self._s3.get_object(place, name)
        if not isinstance(stored, FakeKey):
            return None
        metadata = json.dumps(dict(stored.metadata))
        return metadata, stored.etag.strip('"'), stored.last_modified.isoformat(), stored.value

    def _vectors_row(self, place: str, name: str) -> tuple[Any, ...] | None:
        bucket, index = json.loads(place)
        vector = self._s3vectors.get_index(bucket, index, "").vectors.get(name)
        return (json.dumps({"data": vector.data, "metadata": vector.metadata}),) if vector else None

    def _write_messages(self) -> set[Row]:
        """Write what was sent and remove what was deleted, whoever did it: S3 sends, moto buries."""
        there = {
            Row("messages", queue.name, message.id): message
            for queue in list(self._sqs.queues.values())
            for message in list(queue._messages)
        }
        for row in self._messages - there.keys():
            self._database.execute(_REMOVE["messages"], (row.place, row.name))
        for row, message in there.items():  # in their order
            if row not in self._messages:
                values = (row.place, row.name, message.body, message.group_id)
                self._database.execute(_REPLACE["messages"], values)
        return set(there)

    def _restore_item(self, place: str, name: str, item: str) -> None:
        self._dynamodb.put_item(place, json.loads(item))

    def _restore_object(
        self, place: str, name: str, metadata: str, etag: str, modified: str, body: bytes
    ) -> None:
        stored = self._s3.put_object(place, name, body, etag=etag, disable_notification=True)
        stored.set_metadata(json.loads(metadata))
        stored.last_modified = datetime.fromisoformat(modified)

    def _restore_vector(self, place: str, name: str, vector: str) -> None:
        bucket, index = json.loads(place)
        self._s3vectors.put_vectors(bucket, index, "", [{"key": name, **json.loads(vector)}])

    def _restore_message(self, place: str, name: str, body: str, group_id: str | None) -> None:
        self._sqs.send_message(place, body, group_id=group_id)

    @property
    def _dynamodb(self) -> Any:
        return dynamodb_backends[self._account][REGION]

    @property
    def _s3(self) -> Any:
        return s3_backends[self._account]["aws"]

    @property
    def _s3vectors(self) -> Any:
        return s3vectors_backends[self._account]["aws"]

    @property
    def _sqs(self) -> Any:
        return sqs_backends[self._account][REGION]
