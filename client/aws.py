"""AWS as the commands reach it: with the shell's credentials, or at the endpoint of a local stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)

from client.failure import Exit, Failure

_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}


@contextmanager
def failures() -> Iterator[None]:
    """Turn what AWS refuses into a `Failure`, which is one line."""
    try:
        yield
    except (NoCredentialsError, NoRegionError) as error:
        hint = "configure the AWS CLI, or set AWS_PROFILE and AWS_DEFAULT_REGION"
        raise Failure(Exit.KEY, f"AWS credentials and a region are needed ({error}): {hint}") from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise Failure(Exit.UNREACHABLE, f"AWS does not answer: {error}") from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        exit = Exit.KEY if code in _DENIED else Exit.REFUSED
        raise Failure(exit, f"AWS refuses: {error}", code) from error
    except BotoCoreError as error:
        raise Failure(Exit.FAILED, f"AWS cannot be asked: {error}") from error


def _local_session() -> boto3.Session:
    """Make a session for local stacks, which take one key pair, whatever the user has configured for AWS."""
    session = botocore.session.Session()
    for name, value in (
        *(("config_file", os.devnull), ("credentials_file", os.devnull)),
        *(("use_fips_endpoint", False), ("use_dualstack_endpoint", False), ("region", "us-east-1")),
    ):
        session.set_config_variable(name, value)
    session.get_component("config_store").set_config_variable("profile", None)
    session.set_credentials("local", "local-development-only")
    return boto3.Session(botocore_session=session)


def client(service: str, endpoint_url: str | None = None, region: str | None = None) -> Any:
    """Make a client of a service.

    Parameters
    ----------
    service : str
        Service name as boto3 knows it, such as ``"sqs"``.
    endpoint_url : str, optional
        The local AWS of a local stack; AWS itself, with the shell's credentials, when absent.
    region : str, optional
        Of AWS; the shell's when absent.
    """
    if endpoint_url is None:
        return boto3.client(service, region_name=region)  # type: ignore[call-overload]
    return _local_session().client(service, endpoint_url=endpoint_url)  # type: ignore[call-overload]


def outputs(stack: str, *names: str) -> list[str]:
    """Return outputs of a stack on AWS, by their names.

    Raises
    ------
    Failure
        The stack has no such output: it is none of ours.
    """
    (found,) = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    values = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if missing := [name for name in names if name not in values]:
        raise Failure(Exit.NOT_FOUND, f"the stack {stack} has no output {missing[0]}: is it the right one?")
    return [values[name] for name in names]


def keys_table(stack: str | None = None, endpoint_url: str | None = None) -> Any:
    """Make the resource of the table of API keys: of a stack on AWS, or of a local stack.

    Parameters
    ----------
    stack : str, optional
        Name of a stack on AWS, which is reached with the shell's credentials.
    endpoint_url : str, optional
        The local AWS of a local stack, whose tables are named as in the template.
    """
    if stack is not None:
        (table,) = outputs(stack, "KeysTableName")
        return boto3.resource("dynamodb").Table(table)
    names = client("dynamodb", endpoint_url).list_tables()["TableNames"]
    name = next((name for name in names if name.endswith("-KeysTable")), None)
    if name is None:
        raise Failure(Exit.NOT_FOUND, f"{endpoint_url} has no table of keys: is it the AWS of a local stack?")
    return _local_session().resource("dynamodb", endpoint_url=endpoint_url).Table(name)
