"""The API keys of a deployment, which its table of keys holds: on AWS, or in a local stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from backend.keys import Key, Keys, NoSuchKey
from client import aws
from client.failure import Exit, Failure


def create(stack: str | None, endpoint_url: str | None, tenant: str | None) -> None:
    """Make a key and print it.

    Parameters
    ----------
    stack : str, optional
        Name of a stack on AWS, which is reached with the shell's credentials.
    endpoint_url : str, optional
        The local AWS of a local stack.
    tenant : str, optional
        Whom the key speaks for; a new tenant by default.

    Raises
    ------
    Failure
    """
    with _of(stack, endpoint_url) as keys:
        key, text = keys.create(tenant)
    print(f"tenant {key.tenant}; this is shown once:", file=sys.stderr)
    print(text)


def show(stack: str | None, endpoint_url: str | None, tenant: str | None) -> None:
    """Print a line for each key, of one tenant or of all."""
    with _of(stack, endpoint_url) as keys:
        for key in keys.list(tenant):
            print(_line(key))


def revoke(stack: str | None, endpoint_url: str | None, id_: str) -> None:
    """Revoke a key, whose id is what stands before its dot."""
    with _of(stack, endpoint_url) as keys:
        print(_line(keys.revoke(id_)))


@contextmanager
def _of(stack: str | None, endpoint_url: str | None) -> Iterator[Keys]:
    with aws.failures():
        try:
            yield Keys(aws.keys_table(stack, endpoint_url))
        except NoSuchKey as error:
            raise Failure(Exit.NOT_FOUND, f"there is no key {error}") from error
        except ValueError as error:  # the name of a tenant
            raise Failure(Exit.USAGE, str(error)) from error


def _line(key: Key) -> str:
    state = f"revoked {key.revoked_at}" if key.revoked_at else "valid"
    return f"{key.id}  tenant {key.tenant}  created {key.created_at}  {state}"
