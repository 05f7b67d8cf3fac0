"""AWS as the commands reach it: with the shell's credentials, or at the endpoint of a local stack."""

from __future__ import annotations

from typing import Any

import boto3

_LOCAL: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "local",
    "aws_secret_access_key": "local-development-only",
}
"""What every local stack takes, whatever the shell has."""


def client(service: str, endpoint_url: str | None = None) -> Any:
    """Make a client of a service.

    Parameters
    ----------
    service : str
        Service name as boto3 knows it, such as ``"sqs"``.
    endpoint_url : str, optional
        The local AWS of a local stack; AWS itself, with the shell's credentials, when absent.
    """
    if endpoint_url is None:
        return boto3.client(service)  # type: ignore[call-overload]
    return boto3.client(service, endpoint_url=endpoint_url, **_LOCAL)  # type: ignore[call-overload]


def table(name: str | None = None, endpoint_url: str | None = None) -> Any:
    """Make the resource of a deployment's table.

    Parameters
    ----------
    name : str, optional
        Its name; a local stack has one table, whose name is asked for when absent.
    endpoint_url : str, optional
        The local AWS of a local stack; AWS itself, with the shell's credentials, when absent.
    """
    if endpoint_url is None:
        return boto3.resource("dynamodb").Table(str(name))
    if name is None:
        (name,) = client("dynamodb", endpoint_url).list_tables()["TableNames"]
    return boto3.resource("dynamodb", endpoint_url=endpoint_url, **_LOCAL).Table(name)
