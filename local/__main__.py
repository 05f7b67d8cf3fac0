"""`python -m local COMMAND`: everything that runs this backend without AWS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import MutableMapping, Sequence
from importlib import import_module

COMMANDS = {
    "serve": "the whole backend on this machine, in the foreground",
    "sam": "the same in real Lambda containers (Docker)",
}


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:7} {help_text}" for name, help_text in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see COMMAND --help")
    given = parser.parse_args(argv)
    # A proxy in the environment is for the world outside: nobody asks it for what runs on this machine.
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join([*filter(None, [direct]), "127.0.0.1", "localhost"])
    # Imported late: no command waits for what another one needs.
    return int(import_module(f"local.{given.command}").main(given.arguments) or 0)


def forget_aws(environment: MutableMapping[str, str]) -> None:
    """Take the user's own configuration of AWS out of an environment.

    The local stack is an AWS of its own: a profile, an endpoint, FIPS or S3 acceleration are for another one.
    """
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]
    environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    environment["AWS_EC2_METADATA_DISABLED"] = "true"


if __name__ == "__main__":
    forget_aws(os.environ)
    sys.exit(main(sys.argv[1:]))
