"""`python -m client COMMAND`: what drives a deployment, on this machine or on AWS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "demo": "one track in, new music out, and a picture of both",
    "deploy": "sam build and sam deploy, to AWS, for one profile",
    "keys": "the API keys of a deployment, local or on AWS",
    "redrive": "try again what a deployment gave up, local or on AWS",
}


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m client",
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
    # The shared code, as the images have it in /opt/python.
    sys.path.append(str(Path(__file__).parents[1] / "layers"))
    # Imported late: no command waits for what another one needs.
    return int(import_module(f"client.{given.command}").main(given.arguments) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
