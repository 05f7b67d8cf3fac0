"""`python -m weights COMMAND`: checkpoints and bundles, from a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from music.engine.packing import PRECISIONS
from weights import CheckpointError, pack, synthetic
from weights.sources import profiles


def main(argv: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the bundle of a profile")
    build.add_argument("profile", help=", ".join(profiles()))
    build.add_argument(
        "--source", default="hub", help="hub, random, or a folder with the checkpoints musicgen and clap"
    )
    build.add_argument("--precision", default="int8", help=", ".join(PRECISIONS) + " (experimental)")
    build.add_argument("--out", type=Path, default=pack.TARGET, help="gets a folder named like the profile")
    torch = commands.add_parser("torch", help="lay out the checkpoint that the torch runtime has in an image")
    torch.add_argument("profile", help=", ".join(profiles()))
    torch.add_argument(
        "--source", default="hub", help="hub, random, or a folder with the checkpoint musicgen"
    )
    torch.add_argument("--out", type=Path, default=pack.TARGET, help="gets the folder torch/PROFILE/musicgen")
    random = commands.add_parser("random", help="write random checkpoints in the published layout")
    random.add_argument("profile", help=", ".join(profiles()))
    random.add_argument("folder", type=Path, help="gets the folders musicgen and clap")
    random.add_argument("--layers", type=int, help="of MusicGen's decoder, instead of the published number")
    random.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    try:
        if given.command == "build":
            folder = pack.build(given.profile, given.source, given.precision, given.out)
            _describe(folder)
        elif given.command == "torch":
            print(pack.checkpoint(given.profile, given.source, given.out))
        else:
            synthetic.write(given.profile, given.folder, given.layers, given.seed)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _describe(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    print(f"{folder}: {manifest['precision']}, {size / 1e6:.0f} MB")
    if cost := manifest["accuracy"]:
        print(
            f"  logits differ from float32 by {cost['logit_error']:.2%} (relative RMS); the worst matrices:"
        )
        print("    " + ", ".join(f"{one['matrix']} {one['error']:.2%}" for one in cost["worst"]))
        if cost["apart"] or cost["exact"]:
            print(f"    {cost['apart']} inputs stand apart; {cost['exact']} matrices are float32")
    for part, component in manifest["components"].items():
        licence = component["license"] or "untrained: what it makes is noise"
        print(f"  {part}: {component['id'] or component['model']} at {component['revision']} ({licence})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
