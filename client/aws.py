"""AWS as the commands reach it: with the shell's credentials, or at the endpoint of a local stack."""

from __future__ import annotations

import os
from typing import Any

import boto3
import botocore.session


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
    return _local_session().client(service, endpoint_url=endpoint_url)  # type: ignore[call-overload]


def outputs(stack: str) -> dict[str, str]:
    """Return the outputs of a stack on AWS, by their names."""
    (found,) = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


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
        return boto3.resource("dynamodb").Table(outputs(stack)["KeysTableName"])
    names = client("dynamodb", endpoint_url).list_tables()["TableNames"]
    (name,) = (name for name in names if name.endswith("-KeysTable"))
    return _local_session().resource("dynamodb", endpoint_url=endpoint_url).Table(name)
