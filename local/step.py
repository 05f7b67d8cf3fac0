"""One step of a first run: `python3 local/step.py STAMP "what it does" [NEEDED...] -- COMMAND...`.

It says what it does and how many seconds that took. Everything that the command prints goes to a log, whose
end and name are shown if it fails. Steps of one checkout run one at a time: of two first runs at once, the
second waits for the first, and then finds the step done. Only Python's own library is there yet.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN_LINES = 15


def main(argv: Sequence[str]) -> int:
    """Run the step unless `STAMP` is newer than all that is `NEEDED`; returns the exit status."""
    end = argv.index("--")
    stamp, what, *needed = argv[:end]
    return run(Path(stamp), what, [Path(path) for path in needed], argv[end + 1 :], ROOT / "build")


def run(stamp: Path, what: str, needed: Sequence[Path], command: Sequence[str], folder: Path) -> int:
    """Run one step and touch its stamp.

    Parameters
    ----------
    stamp : Path
        Exists once the step is done.
    what : str
        What to say that it does.
    needed : sequence of Path
        Files that the step is done from; it is done again when one of them is newer than the stamp.
    command : sequence of str
        What to run.
    folder : Path
        Takes the lock and the log.

    Returns
    -------
    int
        Exit status of the command, 0 if nothing had to be done.
    """
    log = folder / "logs" / f"{'-'.join(stamp.parts[-2:]).lstrip('.')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (folder / "step.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another make in this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and all(path.stat().st_mtime <= stamp.stat().st_mtime for path in needed):
            return 0
        print(f"{what} ... ", end="", flush=True)
        start = time.monotonic()
        with log.open("wb") as output:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
        print(f"{time.monotonic() - start:.0f} s" if status == 0 else "failed", flush=True)
        if status == 0:
            stamp.touch()
            return 0
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(lines[-SHOWN_LINES:]), file=sys.stderr)
    print(f"all of it is in {log}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
