"""What every script does that fits constants: write the file, or compare it with a fresh fit."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path


def arguments(description: str, file: Path, given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read `out` and `check` from the command line; `file` is where the constants are kept."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=file)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    return parser.parse_args(given)


def keep(content: bytes, asked: argparse.Namespace) -> int:
    """Write what was fitted, or compare it with the file, as was asked; return the exit status."""
    if asked.check:
        same = asked.out.read_bytes() == content
        print("the same, bit for bit" if same else f"{asked.out} differs from a fresh fit")
        return 0 if same else 1
    asked.out.write_bytes(content)
    print(f"{asked.out}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    return 0
