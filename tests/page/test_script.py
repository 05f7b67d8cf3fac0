"""The page's script: of the types of the contract, and made of what is committed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from client.stack import ROOT

WEB, STATIC = ROOT / "functions/api/web", ROOT / "functions/api/static"
NODE = ROOT / "build/page/node_modules"


def run(*command: str | Path, cwd: Path) -> None:
    """Run a tool to its end."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]


def test_the_script_that_is_served_is_made_of_the_sources(tmp_path: Path) -> None:
    run("sh", WEB / "build.sh", tmp_path, cwd=ROOT)
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (STATIC / made.name).read_bytes(), f"run `make page`: {made.name}"


def test_the_sources_have_the_types_of_the_contract(tmp_path: Path) -> None:
    for source in [*WEB.glob("*.js"), WEB / "tsconfig.json"]:
        shutil.copy(source, tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE)
    contract = ROOT / "layers/backend/openapi.json"
    generate = (NODE / ".bin/openapi-typescript", contract, "--default-non-nullable", "false", "-o")
    run(*generate, tmp_path / "schema.d.ts", cwd=tmp_path)
    run(NODE / ".bin/tsc", "-p", ".", cwd=tmp_path)


def test_every_word_in_the_strings_is_shown_somewhere() -> None:
    paths = """import(process.argv[1]).then(({S}) => {
        const inner = value => typeof value === "object" && !Array.isArray(value);
        for (const [name, value] of Object.entries(S))
            for (const key of inner(value) ? Object.keys(value) : [""])
                console.log(key ? `${name}.${key}` : name);
    })"""
    command = ("node", "--input-type=module", "-e", paths, str(WEB / "strings.js"))
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    code = "".join(source.read_text() for source in WEB.glob("*.js"))
    assert len(listed) > 100
    # Of what is looked up by a name that the API gives, not every entry need be named here.
    unused = [
        path for path in listed if f"S.{path}" not in code and f"S.{path.partition('.')[0]}[" not in code
    ]
    assert unused == []


def test_every_field_of_a_generation_has_a_name() -> None:
    script = "import(process.argv[1]).then(({S}) => console.log(Object.keys(S.make.fields).join()))"
    command = ("node", "--input-type=module", "-e", script, str(WEB / "strings.js"))
    named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(",")
    contract = json.loads((ROOT / "layers/backend/openapi.json").read_text())
    assert contract["components"]["schemas"]["Parameters"]["properties"].keys() - set(named) == set()


def test_every_package_in_it_has_its_licence_beside_it() -> None:
    told = (STATIC / "licenses.txt").read_text()
    for package in json.loads((WEB / "package.json").read_text())["dependencies"]:
        assert f"{package}\n\n" in told
        assert (NODE / package / "LICENSE").read_text() in told
