"""The commands of the pages, run as they stand there, page by page, in one shell each.

Only this differs from a user's shell: addresses and ids are filled in, a server goes to the background and
takes a free port, curl fails where the API refuses and asks again where it is busy, and of make's targets
those that use the backend are run: the others are suites of their own, or write to the checkout. `make serve`
is run once, for the README: the other pages that begin with it find the same backend running.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client.sample import PATH as SAMPLE
from client.stack import ROOT, StackProcess
from tests.support import sound
from tests.support.pages import PAGES, blocks

LONG = os.environ.get("DOCS") == "long"
MARK = "run: long" if LONG else "run"
TARGETS = {"demo", "help", "redrive", "serve"}
SERVERS = re.compile(r"(?:make|\S*music) serve\b(?!.*--help)")

PRELUDE = """
set -euo pipefail
# Nothing is to be installed, even where what was installed is older than this checkout.
MAKE=(make -o .venv/bin/activate -o .venv/local -o .venv/bin/music -o .venv/engine)
server=
end() { if test -n "$server"; then kill "$server"; wait "$server" || true; server=; fi; }
trap end EXIT
free_port() {
  "$PYTHON" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}
serve() {
  end
  export PORT=$(free_port)
  export API="http://127.0.0.1:$PORT" MUSIC_API="http://127.0.0.1:$PORT"
  # Not by the functions below, which would leave it behind when they are ended.
  if test "$1" = make; then set -- "${MAKE[@]}" "${@:2}"
  else set -- "$PYTHON" -m client.command "${@:2}" --port "$PORT"; fi
  (export PYTHONPATH="$ROOT"; exec "$@") > serve.log 2>&1 &
  server=$!
  while ! grep -q '^ready: ' serve.log; do
    kill -0 "$server" || { cat serve.log; exit 1; }
    sleep 0.2
  done
  ENDPOINT=$(sed -n 's/.*AWS endpoint: //p' serve.log)
}
make() { command "${MAKE[@]}" "$@"; }
curl() { command curl --silent --show-error --fail --retry 8 --retry-all-errors "$@"; }
music() { PYTHONPATH="$ROOT" "$PYTHON" -m client.command "$@"; }
newest() {
  music "$1" --json | "$PYTHON" -c 'import json, sys
print(next(item[sys.argv[1]] for item in json.load(sys.stdin)["items"] if sys.argv[1] in item))' "$2"
}
set -x
"""


def script(commands: list[str]) -> str:
    """Make a page's commands one script: those that servers and others run are theirs."""
    lines = []
    for command in commands:
        words = command.partition("#")[0].split()
        if words[0] == "make" and not TARGETS.issuperset(word for word in words[1:] if "=" not in word):
            continue
        line = command.replace("127.0.0.1:8000", "127.0.0.1:$PORT")
        line = line.replace("{audio_id}", "$(newest tracks audio_id)")
        line = line.replace("{generation_id}", "$(newest jobs generation_id)")
        line = re.sub(r"(ENDPOINT=|--endpoint-url )URL", r'\1"$ENDPOINT"', line)
        lines.append(f"serve {line}" if SERVERS.match(command) else line)
    return "\n".join([PRELUDE, *lines, ""])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing is left behind, with the files that the pages name."""
    for path in ROOT.iterdir():
        if path.name not in {".git", "out", "build"}:
            (tmp_path / path.name).symlink_to(path)
    shutil.copy(SAMPLE, tmp_path / "your_music.mp3")
    (tmp_path / "your_music.flac").write_bytes(sound.encode(sound.chords(8.0), 32000, "flac", "flac"))
    return tmp_path


def commands_of(page: Path) -> list[str]:
    """The commands of a page that this run is to run, in their order."""
    commands = [command for block in blocks(page) if block.mark == MARK for command in block.commands]
    if page.name == "README.md":
        return commands
    return [command for command in commands if command.partition("#")[0].split() != ["make", "serve"]]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.name)
def test_every_command_of_a_page_does_what_it_says(
    page: Path, checkout: Path, request: pytest.FixtureRequest
) -> None:
    commands = commands_of(page)
    # What runs the tests may be make itself, whose options are not for the page's own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"ROOT": str(ROOT), "PYTHON": sys.executable}
    if not any(SERVERS.match(command) for command in commands):
        stack: StackProcess = request.getfixturevalue("running")
        environment |= {"API": stack.api_url, "MUSIC_API": stack.api_url, "ENDPOINT": stack.endpoint_url}
        environment |= {"PORT": stack.api_url.rpartition(":")[2]}
    done = subprocess.run(
        ["bash", "-c", script(commands)],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    for path in checkout.glob("*music.wav"):
        assert sound.decode(path.read_bytes()).seconds == pytest.approx(30, abs=0.1)
