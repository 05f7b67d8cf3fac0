"""Bundles: made of checkpoints, byte for byte again, and opened only where they fit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from music import profiles
from music.engine import bundle as bundle_module
from music.engine.bundle import Bundle, BundleError, open_bundle
from music.profiles import bundle_folder
from tests.support import pickled
from tests.support.hub import running
from weights import Checkpoint, CheckpointError, pack, sources, synthetic
from weights.__main__ import main
from weights.sources import sha256


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack.build("tiny", "random", "int8", tmp_path_factory.mktemp("models"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def _edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_says_what_it_is_made_of(made: Path) -> None:
    bundle = open_bundle(made, "tiny")
    bundle.verify()
    assert (bundle.profile, bundle.precision) == ("tiny", "int8")
    musicgen = bundle.component("musicgen")
    assert (musicgen["model"], musicgen["source"]) == ("tiny", "random")
    assert musicgen["revision"].startswith("random-")
    assert (musicgen["id"], musicgen["license"]) == (None, None), "random weights are nobody's"
    assert musicgen["config"]["decoder"]["num_codebooks"] == 4
    assert bundle.component("clap")["preprocessor"]["nb_max_samples"] == 480000
    listed = set(bundle.manifest["files"])
    assert listed == {path.name for path in made.iterdir()} - {"manifest.json"}
    for network in ("t5", "clap_text"):
        assert Tokenizer.from_file(str(bundle.tokenizer(network))).encode("calm").ids
    for network in bundle_module.NETWORKS:
        assert bundle.tensors(network).path.name in listed


def test_a_bundle_says_what_its_precision_costs(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = open_bundle(made).manifest["accuracy"]
    assert 0.001 < cost["logit_error"] < 0.03
    assert (cost["apart"], cost["exact"]) == (0, 0), "random weights have no outliers"
    monkeypatch.setenv("MODELS", str(made.parent))
    assert profiles.accuracy("tiny") == {
        "precision": "int8", "logit_error": cost["logit_error"], "worst": cost["worst"]
    }  # fmt: skip
    assert profiles.accuracy("builtin") is None
    with pytest.raises(profiles.ProfileError, match=r"small/manifest\.json: says nothing of accuracy"):
        profiles.accuracy("small")
    synthetic.write("tiny", tmp_path / "given")
    for precision in ("float32", "int4"):
        path = pack.build("tiny", str(tmp_path / "given"), precision, tmp_path / "models")
        worse = open_bundle(path).manifest["accuracy"]
        assert worse is None if precision == "float32" else worse["logit_error"] > 4 * cost["logit_error"]
        monkeypatch.setenv("MODELS", str(tmp_path / "models"))
        assert (profiles.accuracy("tiny") is None) == (precision == "float32")


def test_the_tiny_bundle_can_be_committed(made: Path) -> None:
    assert sum(path.stat().st_size for path in made.iterdir()) < 4_000_000


def test_the_same_checkpoint_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    synthetic.write("tiny", tmp_path / "given")
    again = pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models")
    for file in made.iterdir():
        if file.name != "manifest.json":
            assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    revision = open_bundle(again).component("clap")["revision"]
    assert revision.removeprefix("local-") == open_bundle(made).component("clap")["revision"].removeprefix(
        "random-"
    )


def test_other_weights_are_another_revision(made: Path, tmp_path: Path) -> None:
    synthetic.write("tiny", tmp_path / "given", seed=1)
    other = open_bundle(pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models"))
    assert other.component("clap")["revision"][-12:] != open_bundle(made).component("clap")["revision"][-12:]


@pytest.mark.parametrize("shards", [0, 1, 2])
def test_a_bundle_from_the_hub_has_id_revision_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    synthetic.write("tiny", tmp_path / "plain")
    for part in ("musicgen", "clap"):
        if shards:
            pickled.checkpoint(tmp_path / "plain" / part, tmp_path / "made" / part, shards)
        else:
            shutil.copytree(tmp_path / "plain" / part, tmp_path / "made" / part)
    models = {
        "musicgen": sources.Model("musicgen-small", "facebook/musicgen-small", "CC-BY-NC-4.0"),
        "clap": sources.Model("clap-htsat-unfused", "laion/clap-htsat-unfused", "Apache-2.0"),
    }
    monkeypatch.setattr(pack, "models_of", lambda profile: models)
    for part, model in models.items():
        shutil.copytree(tmp_path / "made" / part, tmp_path / "hub" / str(model.repository))
    lock = tmp_path / "lock.json"
    with running(tmp_path / "hub") as hub:
        path = pack.build("small", "hub", "int8", tmp_path / "models", tmp_path / "cache", lock, hub.endpoint)
        revisions = {model.repository: hub.revision(str(model.repository)) for model in models.values()}
    bundle = open_bundle(path, "small")
    for part, model in models.items():
        component = bundle.component(part)
        assert (component["id"], component["license"]) == (model.repository, model.license)
        assert component["revision"] == revisions[model.repository]

    # The torch runtime looks for checkpoints by profile and part.
    for part, model in models.items():
        found = tmp_path / "cache" / "small" / part
        assert found.resolve() == tmp_path / "cache" / str(model.repository).replace("/", "--")
        assert Checkpoint(found).names() == Checkpoint(tmp_path / "plain" / part).names()

    # The same files, downloaded by somebody else with some beside them or without, are that revision, too.
    (tmp_path / "made" / "clap" / "vocab.json").write_text("{}")
    (tmp_path / "made" / "clap" / "tokenizer_config.json").unlink()
    given = open_bundle(pack.build("small", str(tmp_path / "made"), "int8", tmp_path / "models", lock=lock))
    assert given.component("clap")["revision"] == bundle.component("clap")["revision"]
    assert given.component("clap")["source"] == "folder"
    (tmp_path / "made" / "clap" / "tokenizer.json").write_text(
        json.dumps(json.loads((tmp_path / "made" / "clap" / "tokenizer.json").read_text()))
    )
    other = open_bundle(pack.build("small", str(tmp_path / "made"), "int8", tmp_path / "models", lock=lock))
    assert other.component("clap")["revision"].startswith("local-")


def test_a_folder_in_the_way_of_a_link_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.write("tiny", tmp_path / "made")
    models = {part: sources.Model(part, f"somebody/{part}", "MIT") for part in ("musicgen", "clap")}
    monkeypatch.setattr(pack, "models_of", lambda profile: models)
    for part in models:
        shutil.copytree(tmp_path / "made" / part, tmp_path / "hub" / "somebody" / part)
    (tmp_path / "cache" / "small" / "clap").mkdir(parents=True)
    with (
        running(tmp_path / "hub") as hub,
        pytest.raises(CheckpointError, match=r"small/clap: is in the way of a link"),
    ):
        pack.build(
            "small", "hub", "int8", tmp_path / "models", tmp_path / "cache", tmp_path / "lock", hub.endpoint
        )


def test_a_tokenizer_that_was_saved_cutting_cuts_no_more(tmp_path: Path) -> None:
    synthetic.write("tiny", tmp_path / "given")
    file = tmp_path / "given" / "musicgen" / "tokenizer.json"
    whole = Tokenizer.from_file(str(file))
    whole.enable_truncation(4)
    whole.enable_padding(length=32)
    whole.save(str(file))
    path = pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models")
    made = Tokenizer.from_file(str(open_bundle(path).tokenizer("t5")))
    whole.no_truncation()
    whole.no_padding()
    text = "a calm solo piano with a warm bass, slow and quiet"
    assert made.encode(text).ids == whole.encode(text).ids

    # The tags are what they were before, too.
    file = tmp_path / "given" / "clap" / "tokenizer.json"
    tags = path / "clap_tags.safetensors"
    before = tags.read_bytes()
    padded = Tokenizer.from_file(str(file))
    padded.enable_truncation(4)
    padded.enable_padding(length=512)
    padded.save(str(file))
    path = pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models")
    assert tags.read_bytes() == before
    file.write_text("[")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not JSON"):
        pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models")


def test_a_failed_build_leaves_the_old_bundle(tmp_path: Path) -> None:
    synthetic.write("tiny", tmp_path / "given")
    path = pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "models")
    before = (path / "manifest.json").read_bytes()
    (tmp_path / "given" / "clap" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="clap"):
        pack.build("tiny", str(tmp_path / "given"), "float32", tmp_path / "models")
    assert (path / "manifest.json").read_bytes() == before
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["tiny"]
    open_bundle(path).verify()


@pytest.mark.parametrize(
    ("profile", "source", "precision", "message"),
    [
        ("huge", "random", "int8", "unknown profile 'huge'; profiles with weights: small"),
        ("builtin", "random", "int8", "unknown profile 'builtin'"),
        ("tiny", "random", "int3", "unknown precision 'int3'; known: float32, int8, int4"),
        ("tiny", "/nowhere", "int8", "/nowhere/musicgen: no such folder"),
        ("tiny", "hub", "int8", "tiny is not on the hub"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    profile: str,
    source: str,
    precision: str,
    message: str,
) -> None:
    out = tmp_path / "models"
    assert main(["build", profile, "--source", source, "--precision", precision, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())


def test_the_command_prints_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "tiny", "--source", "random", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "int8" in printed
    assert "untrained: what it makes is noise" in printed
    assert re.search(r"logits differ from float32 by 0\.\d\d% .*\n    (musicgen|t5)\.\d\.", printed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(exporter=0), r"exporter 0, but this engine reads .*: make models PROFILE=tiny"),
        (lambda m: m.update(format=99), "format 99"),
        (lambda m: m.update(architectures=["riscv64"]), r"made for riscv64, not for"),
        (lambda m: m.update(profile="small"), "a bundle of small, not of tiny"),
        (lambda m: m["files"].pop("t5.safetensors"), r"does not list t5\.safetensors"),
        (lambda m: m.pop("files"), "damaged"),
        (lambda m: m.update(files=[1]), "damaged"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_by_name(
    bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit(bundle, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle, "tiny")


def test_a_missing_bundle_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"small: no bundle there .*make models PROFILE=small"):
        open_bundle(tmp_path / "small")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json: damaged"):
        open_bundle(tmp_path / "small")


def test_missing_short_and_changed_files_are_named(bundle: Path) -> None:
    weights = bundle / "encodec.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"encodec\.safetensors: its sha256 is"):
        open_bundle(bundle).verify()
    weights.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=rf"encodec\.safetensors: has {len(content) - 1} bytes, not"):
        open_bundle(bundle)
    weights.unlink()
    with pytest.raises(BundleError, match=r"encodec\.safetensors: missing"):
        open_bundle(bundle)


def test_too_little_memory_is_known_before_loading(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(made)
    assert open_bundle(made, networks=["clap_audio"]).memory() < bundle.memory()
    bundle.require_memory(available=bundle.memory())
    with pytest.raises(BundleError, match=r"tiny at int8 needs \d+ MB of memory; 1 MB are available"):
        bundle.require_memory(available=1_000_000)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    assert bundle_module.available_memory() <= 128 << 20
    with pytest.raises(BundleError, match="134 MB are available"):
        bundle.require_memory()


def test_large_does_not_fit_a_lambda_in_float32(made: Path) -> None:
    manifest = open_bundle(made).manifest | {"profile": "large", "precision": "float32"}
    manifest["memory"] = manifest["memory"] | {"musicgen": 13_000_000_000}
    with pytest.raises(BundleError, match="large at float32 needs 13"):
        Bundle(made, manifest).require_memory(available=10240 << 20)


def test_bundles_are_looked_for_where_models_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "/somewhere")
    assert bundle_folder("small") == Path("/somewhere/small")
    monkeypatch.delenv("MODELS")
    assert bundle_folder("small") == Path("/opt/models/small")


def test_an_image_checks_its_bundle_when_it_is_built(bundle: Path) -> None:
    command = [sys.executable, "-m", "music.engine.bundle", str(bundle), "tiny"]
    environment = {"PYTHONPATH": "layers"}
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    (bundle / "t5.tokenizer.json").write_bytes(b"x" * (bundle / "t5.tokenizer.json").stat().st_size)
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "t5.tokenizer.json: its sha256" in refused.stderr


def test_a_function_needs_only_the_files_of_its_networks(bundle: Path) -> None:
    for file in bundle.iterdir():
        if not file.name.startswith(("clap", "manifest")):
            file.unlink()
    open_bundle(bundle, "tiny", ("clap_audio", "clap_text")).verify()
    with pytest.raises(BundleError, match=r"t5\.safetensors: missing"):
        open_bundle(bundle, "tiny")


@pytest.mark.parametrize("source", ["random", "folder", "hub"])
def test_a_checkpoint_is_laid_out_for_torch_with_the_hashes_of_its_files(source: str, tmp_path: Path) -> None:
    profile, given = "tiny", source
    with ExitStack() as ending:
        more: dict[str, Any] = {}
        if source != "random":
            synthetic.write("tiny", tmp_path / "plain")
            (tmp_path / "plain/musicgen/notes.txt").write_text("not of the model")
        if source == "folder":
            given = str(tmp_path / "plain")
        if source == "hub":
            profile = "small"
            shutil.copytree(tmp_path / "plain/musicgen", tmp_path / "hub/facebook/musicgen-small")
            hub = ending.enter_context(running(tmp_path / "hub"))
            more = {"cache": tmp_path / "cache", "lock": tmp_path / "lock.json", "endpoint": hub.endpoint}
        for _ in range(2):  # the second replaces the first
            folder = pack.checkpoint(profile, given, tmp_path / "models", **more)
    assert folder == tmp_path / "models/torch" / profile / "musicgen"
    assert Checkpoint(folder).config["model_type"] == "musicgen"
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= sums.keys()
    assert "notes.txt" not in sums
    for name, expected in sums.items():
        assert sha256(folder / name) == expected
    assert not [path for path in (tmp_path / "models").iterdir() if path.name != "torch"]
