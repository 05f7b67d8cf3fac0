"""Ask a vulnerability database about every locked dependency: `python -m tests.audit`.

Ends with 1 if one is known to be vulnerable. Where no database answers, it says so and ends with 0, or with 2
under `--strict`. (pip-audit itself finds "no known vulnerabilities" in what nobody could be asked about.)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = sorted(
    path
    for path in ROOT.rglob("requirements.txt")
    if not {".venv", ".venv-sam", ".aws-sam", "build"} & set(path.relative_to(ROOT).parts)
)
"""Every set of pinned dependencies of the project."""


@dataclass
class Found:
    """What is known of one lock: dependencies asked about, those that nobody answered for, and why not."""

    asked: int = 0
    vulnerable: list[str] = field(default_factory=list)
    unanswered: int = 0
    reason: str = ""


def audit(lock: Path, command: Sequence[str] = (sys.executable, "-m", "pip_audit")) -> Found:
    """Ask about one lock.

    Parameters
    ----------
    lock : Path
        A requirements file with versions and hashes.
    command : sequence of str
        Runs pip-audit.
    """
    options = ["--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([*command, *options, "-r", lock], capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        return Found(unanswered=1, reason=reason[:200])
    found = Found()
    for one in dependencies:
        if "skip_reason" in one:
            found.unanswered += 1
            found.reason = one["skip_reason"]
            continue
        found.asked += 1
        for vulnerability in one["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            found.vulnerable.append(
                f"{one['name']} {one['version']}: {vulnerability['id']}, fixed by {fixed}"
            )
    return found


def main(argv: Sequence[str]) -> int:
    """Ask about every lock, and say what was found; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="end with 2 if nobody could be asked")
    strict = parser.parse_args(argv).strict
    vulnerable: set[str] = set()
    asked = 0
    for lock in LOCKS:
        found = audit(lock)
        name = lock.relative_to(ROOT)
        if found.unanswered and not found.asked:
            print(f"{name}: NOT AUDITED, no vulnerability database answers here ({found.reason})")
            print("nothing is known about any dependency; run it where one can be reached")
            return 2 if strict else 0
        counts = f"asked about {found.asked}, unanswered {found.unanswered}"
        print(f"{name}: {counts}, vulnerable {len(found.vulnerable)}")
        vulnerable |= set(found.vulnerable)
        asked += found.asked
    for line in sorted(vulnerable):
        print(line)
    print(f"{asked} pins, {len(vulnerable)} known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
