"""`python -m models.checkpoints COMMAND`: checkpoints, from a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.checkpoints import CheckpointError, configs


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.checkpoints", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    random = commands.add_parser("random", help="write random checkpoints in the published layout")
    random.add_argument("profile", help=", ".join(configs.PROFILES))
    random.add_argument("folder", type=Path)
    random.add_argument("--layers", type=int, help="of MusicGen's decoder, instead of the published number")
    random.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    try:
        # Imported late: no command waits for what another one needs.
        from models.checkpoints import synthetic

        synthetic.write(given.profile, given.folder, given.layers, given.seed)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
