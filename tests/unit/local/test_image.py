"""What each function's image holds: all that its function may import, and nothing that no function runs."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

import grimp
import pytest

from local.image import DockerfileError, Image
from local.template import ROOT

IMAGES = {path.parent.name: Image.read(path, ROOT) for path in sorted(ROOT.glob("functions/*/Dockerfile"))}
LAYERS = ("backend", "music")
NAMESPACES = {"functions", *(f"functions.{label}" for label in IMAGES)}
"""Packages that have no `__init__.py`."""
LEFT_OUT: dict[str, set[str]] = {
    "search": {"music.mir512", "music.mosaic", "music.musicgen", "music.torch"},
    "embed": {"music.mosaic", "music.musicgen", "music.torch", "tokenizers"},
    "generate": {"music.torch"},
    "endpoint": {"torch", "transformers"},
}
"""Packages that `music.loading` imports when it is asked for what the function never asks for. Two of the
endpoint's are in its image where that is built for torch, and not where tests run."""


@cache
def graph() -> grimp.ImportGraph:
    """Every import of the functions and the layers, those inside functions included."""
    return grimp.build_graph(
        "functions", *LAYERS, include_external_packages=True, exclude_type_checking_imports=True
    )


def reached(image: Image) -> tuple[set[str], set[str], set[str]]:
    """Follow a handler's imports through its image.

    Returns
    -------
    tuple of three sets of str
        Modules that it reaches in the image, modules of this repository that it asks for and that are not in
        the image, and names of packages from elsewhere.
    """
    held = image.modules()
    found, missing, foreign = set(), set(), set()
    pending = {image.module}
    missing |= pending - held.keys()
    while pending:
        name = pending.pop()
        found.add(name)
        for imported in graph().find_modules_directly_imported_by(name):
            if imported.partition(".")[0] not in (*LAYERS, "functions"):
                foreign.add(imported.partition(".")[0])
                continue
            parts = imported.split(".")
            for module in {".".join(parts[:count]) for count in range(1, len(parts) + 1)}:
                if module in held:
                    pending |= {module} - found
                elif module not in NAMESPACES:
                    missing.add(module)
    return found, missing, foreign - sys.stdlib_module_names


def installed(label: str) -> set[str]:
    """Names of the packages that an image installs, as they are imported."""
    names = set()
    for lock in re.findall(r"\S+/requirements\.txt", (ROOT / f"functions/{label}/Dockerfile").read_text()):
        if (ROOT / lock).is_file() and "engine" not in lock:  # the compiler is not in the image
            names |= set(re.findall(r"^([a-z0-9._-]+)", (ROOT / lock).read_text(), re.MULTILINE))
    return {
        module
        for module, distributions in packages_distributions().items()
        if {name.lower().replace("_", "-") for name in distributions} & names
    }


READ = {PurePosixPath("/var/task/functions/api/static"): "functions.api.page"}
"""Folders in images whose files are no modules, and the module that reads them."""


@pytest.mark.parametrize("label", IMAGES)
def test_an_image_holds_all_that_its_function_imports(label: str) -> None:
    _, missing, foreign = reached(IMAGES[label])
    whole = {module for module in missing if module.rpartition(".")[0] not in missing}
    assert whole | (foreign - installed(label)) == LEFT_OUT.get(label, set())


@pytest.mark.parametrize("label", IMAGES)
def test_an_image_holds_nothing_that_its_function_does_not_import(label: str) -> None:
    image = IMAGES[label]
    modules = image.modules()
    found = reached(image)[0]
    used = {modules[name] for name in found}
    for path, original in image.code.items():
        needed = READ.get(path.parent) in found or any(file.is_relative_to(original) for file in used)
        assert needed, f"{path} is copied for nothing"


@pytest.mark.parametrize("label", IMAGES)
def test_what_builds_or_tests_is_in_no_image(label: str) -> None:
    modules = IMAGES[label].modules()
    assert {name.partition(".")[0] for name in modules} <= {*LAYERS, "functions"}
    torch = {name for name in modules if name.startswith("music.torch")}
    assert bool(torch) == (label == "endpoint")
    assert "music.engine.build" not in modules
    assert "kernels.c" not in {path.name for path in IMAGES[label].code}
    assert {name for name in modules if name.startswith("functions.")} == {
        f"functions.{folder}.{path.stem}"
        for folder in {label, *(("generate",) if label == "endpoint" else ())}  # whose job it does
        for path in (ROOT / "functions" / folder).glob("*.py")
    }


@pytest.mark.parametrize(
    ("label", "known"),
    [("authorizer", set()), ("sweeper", set()), ("upload", {"music", "music.interfaces", "music.profiles"})],
)
def test_most_functions_know_nothing_of_music_or_only_what_profiles_say(label: str, known: set[str]) -> None:
    assert {name for name in IMAGES[label].modules() if name.startswith("music")} == known


def test_the_api_knows_of_music_what_a_profile_can_do() -> None:
    modules = {name for name in IMAGES["api"].modules() if name.startswith("music")}
    assert modules == {"music", "music.interfaces", "music.profiles", "music.reach"}


DOCKERFILE = """\
ARG BASE=scratch
FROM ${BASE} AS made
COPY package /made
# Of the last stage
FROM ${BASE}
COPY app.py requirements.txt /opt/
COPY one.py two.py \\
     /opt/python/
COPY package/__init__.py package/part.py /opt/python/package/
COPY --from=made /made/*.so /opt/python/package/
COPY folder /opt/python/folder
COPY functions/*.py /var/task/functions/here/
CMD ["functions.here.app.handler"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A folder with a Dockerfile and what it copies."""
    package = ("package/__init__.py", "package/part.py")
    for name in ("app.py", "one.py", "two.py", *package, "folder/within.py", "functions/app.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"NAME = {name!r}\n")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def test_the_last_stage_says_what_is_where(context: Path) -> None:
    image = Image.read(context / "Dockerfile", context)
    assert (image.module, image.handler) == ("functions.here.app", "functions.here.app.handler")
    assert image.code == {
        PurePosixPath("/opt/python/one.py"): context / "one.py",
        PurePosixPath("/opt/python/two.py"): context / "two.py",
        PurePosixPath("/opt/python/package/__init__.py"): context / "package/__init__.py",
        PurePosixPath("/opt/python/package/part.py"): context / "package/part.py",
        PurePosixPath("/opt/python/folder"): context / "folder",
        PurePosixPath("/var/task/functions/here/app.py"): context / "functions/app.py",
    }
    assert image.modules().keys() == {
        *("one", "two", "package", "package.part", "folder.within", "functions.here.app")
    }


def test_an_image_that_is_not_lambdas_runs_a_module(context: Path) -> None:
    with (context / "Dockerfile").open("a") as dockerfile:
        dockerfile.write('ENTRYPOINT ["python3", "-m", "functions.here"]\nCMD ["serve"]\n')
    image = Image.read(context / "Dockerfile", context)
    assert (image.module, image.handler) == ("functions.here.__main__", "")


def test_the_code_is_laid_out_as_in_the_image(context: Path, tmp_path: Path) -> None:
    task, python = Image.read(context / "Dockerfile", context).lay_out(tmp_path / "image")
    assert (task / "functions/here/app.py").read_text() == "NAME = 'functions/app.py'\n"
    assert (python / "folder/within.py").read_text() == "NAME = 'folder/within.py'\n"
    assert not (python / "app.py").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY missing.py /opt/python/", "missing.py: no such file"),
        ("COPY missing*.py /opt/python/", "nothing to copy into /opt/python/"),
        ("COPY one.py /opt/python/folder/", "copied twice"),
        ("COPY functions /opt/python", "copied twice"),
        ('CMD ["one", "two"]', "names no handler"),
        ('ENTRYPOINT ["python3", "serve.py"]', "runs no module"),
        ("FROM scratch", "names no handler"),
    ],
)
def test_what_cannot_be_followed_is_an_error(context: Path, line: str, message: str) -> None:
    with (context / "Dockerfile").open("a") as dockerfile:
        dockerfile.write(line)
    with pytest.raises(DockerfileError, match=message):
        Image.read(context / "Dockerfile", context)


def test_a_dockerfile_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DockerfileError, match="No such file"):
        Image.read(tmp_path / "Dockerfile", tmp_path)
