"""What moto does not implement of S3 Vectors: `QueryVectors` (exact here), and the pages of `ListVectors`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from moto.s3vectors.exceptions import IndexNotFound
from moto.s3vectors.models import Index, Vector, s3vectors_backends

MAX_TOP_K = 100


class QueryError(Exception):
    """An error that S3 Vectors answers with: HTTP status, exception name, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def query_vectors(request: Mapping[str, Any], *, account: str) -> dict[str, Any]:
    """Answer a `QueryVectors` request.

    Parameters
    ----------
    request : mapping
        Body of the request: ``topK``, ``queryVector.float32``, ``filter`` and what to return.
    account : str
        The account that the index belongs to.

    Returns
    -------
    dict
        Body of the answer: the `topK` nearest by cosine distance (1 - cosine), nearest first.

    Raises
    ------
    QueryError
        When the index does not exist or the request is not valid.
    """
    index = index_of(request, account)
    top_k = request.get("topK")
    if not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
        raise QueryError(400, "ValidationException", f"topK must be 1 to {MAX_TOP_K}")
    query = np.asarray(request["queryVector"]["float32"], dtype=np.float32).astype(np.float64)
    if query.shape != (index.dimension,) or not np.all(np.isfinite(query)) or not query.any():
        message = f"Query vector must hold {index.dimension} finite numbers that are not all zero"
        raise QueryError(400, "ValidationException", message)
    wanted = request.get("filter")
    found = [v for v in list(index.vectors.values()) if wanted is None or fits(wanted, v.metadata or {})]
    distances = _cosine_distances(query, found)
    order = np.argsort(distances, kind="stable")[:top_k]
    return {
        "distanceMetric": "cosine",
        "vectors": [_answer(found[i], float(distances[i]), request) for i in order],
    }


def list_vectors(request: Mapping[str, Any], *, account: str) -> dict[str, Any]:
    """Answer a `ListVectors` request, in the order of the keys.

    Parameters
    ----------
    request : mapping
        Body of the request: ``maxResults``, ``nextToken`` and what to return.
    account : str
        The account that the index belongs to.

    Returns
    -------
    dict
        Body of the answer: a page of vectors, and a ``nextToken`` when there are more.

    Raises
    ------
    QueryError
        When the index does not exist.
    """
    index = index_of(request, account)
    limit, after = int(request.get("maxResults") or 500), str(request.get("nextToken") or "")
    keys = sorted(key for key in list(index.vectors) if key > after)
    page = []
    for key in keys[:limit]:
        vector: dict[str, Any] = {"key": key}
        if request.get("returnMetadata"):
            vector["metadata"] = index.vectors[key].metadata or {}
        if request.get("returnData"):
            vector["data"] = index.vectors[key].data
        page.append(vector)
    return {"vectors": page, **({"nextToken": keys[limit - 1]} if len(keys) > limit else {})}


def fits(wanted: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Tell whether metadata fits a filter made of the operators in use here: ``$and``, ``$eq``, ``$nin``.

    Raises
    ------
    QueryError
        When the filter has another operator.

    Examples
    --------
    >>> fits({"$and": [{"tenant": {"$eq": "a"}}, {"id": {"$nin": ["x"]}}]}, {"tenant": "a", "id": "y"})
    True
    """
    for name, value in wanted.items():
        if name == "$and":
            fit = all(fits(one, metadata) for one in value)
        elif isinstance(value, Mapping) and len(value) == 1 and (key := next(iter(value))) in _COMPARE:
            fit = _COMPARE[key](metadata.get(name), value[key])
        else:
            message = f"The local stack knows the filters $and, $eq and $nin, not {{{name!r}: {value!r}}}"
            raise QueryError(400, "ValidationException", message)
        if not fit:
            return False
    return True


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$nin": lambda value, others: value not in others,
}


def index_of(request: Mapping[str, Any], account: str) -> Index:
    """Return the index that a request is about.

    Raises
    ------
    QueryError
        When it does not exist.
    """
    names = (request.get("vectorBucketName", ""), request.get("indexName", ""), request.get("indexArn", ""))
    try:
        return s3vectors_backends[account]["aws"].get_index(*names)
    except IndexNotFound as error:
        raise QueryError(404, "NotFoundException", "The specified index could not be found") from error


def _cosine_distances(query: np.ndarray, vectors: list[Vector]) -> np.ndarray:
    if not vectors:
        return np.zeros(0)
    matrix = np.array([v.data["float32"] for v in vectors], dtype=np.float32).astype(np.float64)
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    return 1.0 - (matrix @ query) / np.where(norms > 0, norms, 1.0)


def _answer(vector: Vector, distance: float, request: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"key": vector.key}
    if request.get("returnDistance"):
        answer["distance"] = distance
    if request.get("returnMetadata"):
        answer["metadata"] = vector.metadata or {}
    return answer
