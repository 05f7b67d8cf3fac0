"""`python -m client keys`: the API keys of a deployment.

    python -m client keys create --endpoint-url URL             of a local stack, which prints the URL
    python -m client keys create --stack NAME [--tenant NAME]   on AWS, with your shell's credentials
    python -m client keys list ...
    python -m client keys revoke ID ...

A key speaks for one tenant: a new one, or the one that --tenant names. It is shown once. A revoked key
goes on working for up to a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from backend.keys import Key, Keys, NoSuchKey
from client import aws


def main(argv: Sequence[str]) -> int:
    """Create, list or revoke; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m client keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["create", "list", "revoke"])
    parser.add_argument("id", nargs="?", help="of the key to revoke: what stands before its dot")
    parser.add_argument("--tenant", help="whom the new key speaks for, or whose keys to list")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--endpoint-url", help="the local AWS of a running local stack")
    where.add_argument("--stack", help="name of a stack on AWS")
    arguments = parser.parse_args(argv)
    if (arguments.action == "revoke") != (arguments.id is not None):
        parser.error("revoke takes the id of a key, and nothing else does")
    try:
        keys = Keys(aws.keys_table(arguments.stack, arguments.endpoint_url))
        if arguments.action == "create":
            key, text = keys.create(arguments.tenant)
            print(f"tenant {key.tenant}; this is shown once:", file=sys.stderr)
            print(text)
        elif arguments.action == "list":
            for key in keys.list(arguments.tenant):
                print(_line(key))
        else:
            print(_line(keys.revoke(arguments.id)))
    except NoSuchKey as error:
        print(f"error: there is no key {error}", file=sys.stderr)
        return 1
    except (ValueError, KeyError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _line(key: Key) -> str:
    state = f"revoked {key.revoked_at}" if key.revoked_at else "valid"
    return f"{key.id}  tenant {key.tenant}  created {key.created_at}  {state}"
