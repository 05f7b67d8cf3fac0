"""The stand-in for AWS's base image, built with programs that only note what they are given."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from local.template import ROOT

PROGRAMS = {
    "apt-get": "echo 'Debian http://mirror.example/debian'",
    "debootstrap": """eval "rootfs=\\${$(($# - 1))}"
        mkdir -p "$rootfs/etc/ssl/certs" "$rootfs/usr/bin\"""",
    "docker": """case "$1 $2" in
        "image inspect") exit 1 ;;
        "import "*) cat >"$NOTES/rootfs.tar" ;;
        "build "*) echo "$@" >"$NOTES/build"; for last; do :; done; cp -r "$last" "$NOTES/context" ;;
    esac""",
    "environment/bin/python": """echo "$@" >>"$NOTES/pip"
        case "$*" in
            *"config get global.index-url") echo "$INDEX" ;;
            *download*) while [ "$1" != --dest ]; do shift; done
                mkdir "$2"; echo wheel >"$2/client.whl" ;;
        esac""",
}


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        ("https://user:s3cret@index.example/simple", "https://index.example/simple"),
        ("https://s3cret@index.example:8443/a@b/simple", "https://index.example:8443/a@b/simple"),
        ("https://index.example/simple", "https://index.example/simple"),
        ("", None),
    ],
)
def test_a_credential_for_the_package_index_gets_into_no_image(
    tmp_path: Path, index: str, kept: str | None
) -> None:
    environment = tmp_path / "environment"
    emulator = environment / "lib/python3.11/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"
    emulator.parent.mkdir(parents=True)
    emulator.write_text("emulator")
    for name, body in PROGRAMS.items():
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\nset -e\n{body}\n")
        program.chmod(0o755)
    notes = tmp_path / "notes"
    notes.mkdir()
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NOTES": str(notes),
        "INDEX": index,
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [ROOT / "local/base_image/build.sh", environment],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lambda-python-3.13:")
    with tarfile.open(notes / "rootfs.tar") as rootfs:
        configuration = rootfs.extractfile("./etc/pip.conf")
        assert configuration is not None
        lines = configuration.read().decode().splitlines()
    assert [line for line in lines if "index" in line] == ([f"index-url = {kept}"] if kept else [])
    assert "--no-index" in (notes / "context/Dockerfile").read_text()
    assert (notes / "context/wheels/client.whl").read_text() == "wheel\n"
    for path in (path for path in notes.rglob("*") if path.is_file()):
        assert b"s3cret" not in path.read_bytes(), path
