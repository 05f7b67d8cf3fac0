"""Fetching from a hub on this machine with the real client: the lock is written once and then holds."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pickled
from tests.support.hub import Hub, running
from weights import Checkpoint, CheckpointError, fetch, sources, synthetic
from weights.sources import Model

MODEL = Model("musicgen-small", "facebook/musicgen-small", "CC-BY-NC-4.0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


@pytest.fixture
def fake(made: Path, tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(made / "musicgen", tmp_path / "hub" / "facebook" / "musicgen-small")
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def published(fake: Hub) -> Path:
    """The repository's folder on the hub."""
    return fake.root / "facebook" / "musicgen-small"


def _fetch(fake: Hub, folder: Path) -> str:
    return fetch.fetch(MODEL, folder, folder.parent / "lock.json", fake.endpoint)


def test_the_first_fetch_writes_revision_and_hashes_and_later_ones_change_nothing(
    fake: Hub, published: Path, tmp_path: Path
) -> None:
    (published / "state_dict.bin").write_bytes(b"another format")
    revision = _fetch(fake, tmp_path / "got")
    assert revision == fake.revision("facebook/musicgen-small")
    locked = (tmp_path / "lock.json").read_text()
    entry = json.loads(locked)["facebook/musicgen-small"]
    wanted = {file.name for file in published.iterdir()} - {"state_dict.bin"}
    assert entry["revision"] == revision
    assert entry["files"] == {name: sources.sha256(published / name) for name in wanted}
    assert Checkpoint(tmp_path / "got").config == Checkpoint(published).config
    assert not (tmp_path / "got" / "state_dict.bin").exists()

    before = len(fake.requests)
    assert _fetch(fake, tmp_path / "got") == revision
    assert len(fake.requests) == before, "nothing is asked again"
    assert (tmp_path / "lock.json").read_text() == locked


def test_a_locked_repository_is_fetched_at_its_revision_after_the_hub_has_moved_on(
    fake: Hub, published: Path, tmp_path: Path
) -> None:
    revision = _fetch(fake, tmp_path / "first")
    (published / "generation_config.json").write_text('{"do_sample": false}')
    assert fake.revision("facebook/musicgen-small") != revision
    assert _fetch(fake, tmp_path / "second") == revision
    generation = json.loads((tmp_path / "second" / "generation_config.json").read_text())
    assert generation["do_sample"] is True


def test_a_file_that_differs_from_the_lock_is_refused_by_name(fake: Hub, tmp_path: Path) -> None:
    _fetch(fake, tmp_path / "got")
    lock = (tmp_path / "lock.json").read_text()
    weights = tmp_path / "got" / "model.safetensors"
    times = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")
    # Unnoticed by the hub's client, which would fetch anew what it sees to be newer than its download.
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CheckpointError, match=r"model\.safetensors has the sha256 .* as locked"):
        _fetch(fake, tmp_path / "got")
    fake.lies["config.json"] = (tmp_path / "got" / "config.json").read_bytes().replace(b"gelu", b"tanh")
    with pytest.raises(CheckpointError, match=r"config\.json has the sha256 .* as locked"):
        _fetch(fake, tmp_path / "elsewhere")
    assert (tmp_path / "lock.json").read_text() == lock


def test_what_the_hub_garbles_is_not_locked(fake: Hub, published: Path, tmp_path: Path) -> None:
    weights = (published / "model.safetensors").read_bytes()
    fake.lies["model.safetensors"] = weights[:-4] + b"\1\2\3\4"
    with pytest.raises(CheckpointError, match=r"model\.safetensors has the sha256 .* as the hub declares"):
        _fetch(fake, tmp_path / "got")
    assert not (tmp_path / "lock.json").exists()


def test_a_checkpoint_that_is_not_what_its_config_says_is_not_locked(
    fake: Hub, published: Path, tmp_path: Path
) -> None:
    config = json.loads((published / "config.json").read_text())
    config["decoder"]["num_hidden_layers"] = 3
    (published / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.2\.self_attn\.q_proj\.weight is missing"):
        _fetch(fake, tmp_path / "got")
    assert not (tmp_path / "lock.json").exists()


def test_shards_are_fetched_by_their_index(
    fake: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "SHARD", 1_000_000)
    shutil.rmtree(published)
    synthetic.write("tiny", tmp_path / "split")
    shutil.copytree(tmp_path / "split" / "musicgen", published)
    _fetch(fake, tmp_path / "got")
    assert len(list((tmp_path / "got").glob("model-*-of-00003.safetensors"))) == 3


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_repository_without_a_needed_file_is_refused(
    fake: Hub, published: Path, tmp_path: Path, name: str
) -> None:
    (published / name).unlink()
    with pytest.raises(CheckpointError, match=name if name.startswith("tok") else "no weights"):
        _fetch(fake, tmp_path / "got")


@pytest.mark.parametrize("shards", [1, 2])
def test_a_repository_of_pickles_is_fetched_and_locked_as_it_is(
    fake: Hub, made: Path, published: Path, tmp_path: Path, shards: int
) -> None:
    shutil.rmtree(published)
    pickled.checkpoint(made / "musicgen", published, shards)
    _fetch(fake, tmp_path / "got")
    assert Checkpoint(tmp_path / "got").names() == Checkpoint(made / "musicgen").names()
    entry = json.loads((tmp_path / "lock.json").read_text())["facebook/musicgen-small"]
    weights = {file.name for file in published.glob("pytorch_model*")}
    assert len(weights) == (1 if shards == 1 else 3)
    assert {file for file in entry["files"] if file.startswith("pytorch_model")} == weights
    assert {file.name for file in (tmp_path / "got").iterdir() if file.is_file()} == set(entry["files"])
    (tmp_path / "got" / "model.safetensors").write_bytes(b"of somebody else")
    with pytest.raises(CheckpointError, match=r"got/model\.safetensors"):
        _fetch(fake, tmp_path / "got")


def test_what_was_not_fetched_is_not_read(fake: Hub, made: Path, published: Path, tmp_path: Path) -> None:
    shutil.rmtree(published)
    pickled.checkpoint(made / "musicgen", published)
    _fetch(fake, tmp_path / "got")
    shutil.copy(made / "musicgen" / "model.safetensors", tmp_path / "got")
    with pytest.raises(CheckpointError, match=r"got/model\.safetensors: was not fetched, but would be read"):
        _fetch(fake, tmp_path / "got")


def test_an_index_whose_shards_the_hub_lacks_is_passed_over(
    fake: Hub, made: Path, published: Path, tmp_path: Path
) -> None:
    shutil.rmtree(published)
    pickled.checkpoint(made / "musicgen", published)
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    (published / "model.safetensors.index.json").write_text(json.dumps(index))
    _fetch(fake, tmp_path / "got")
    assert Checkpoint(tmp_path / "got").weights == ("pytorch_model.bin",)
    assert not (tmp_path / "got" / "model.safetensors.index.json").exists()
    (published / "pytorch_model.bin").unlink()
    (tmp_path / "lock.json").unlink()
    with pytest.raises(CheckpointError, match=r"musicgen-small: no weights: .* lists model-00001"):
        _fetch(fake, tmp_path / "again")


def test_a_hub_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^facebook/musicgen-small: the hub does not answer"):
        fetch.fetch(MODEL, tmp_path / "got", tmp_path / "lock.json", "http://127.0.0.1:9")


def test_a_repository_that_is_not_there_is_refused_by_name(fake: Hub, tmp_path: Path) -> None:
    model = Model("x", "nobody/nothing")
    with pytest.raises(CheckpointError, match=r"^nobody/nothing: .*404") as caught:
        fetch.fetch(model, tmp_path / "got", tmp_path / "lock.json", fake.endpoint)
    assert "\n" not in str(caught.value)


def test_what_nobody_publishes_is_not_asked_for(fake: Hub, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tiny is not on the hub: use SOURCE=random"):
        fetch.fetch(sources.models_of("tiny")["musicgen"], tmp_path / "got", tmp_path / "lock", fake.endpoint)
    assert fake.requests == []


def test_without_the_hubs_client_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="huggingface_hub"):
        fetch.fetch(MODEL, tmp_path / "got", tmp_path / "lock.json")


def test_a_damaged_lock_is_an_error_not_a_first_fetch(fake: Hub, tmp_path: Path) -> None:
    for content in ("{", '{"facebook/musicgen-small": {"revision": 1}}', "[]"):
        (tmp_path / "lock.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"lock\.json: damaged"):
            _fetch(fake, tmp_path / "got")


def test_every_profile_with_weights_names_its_models() -> None:
    from music.profiles import DECLARED

    assert set(DECLARED) - {"builtin"} <= set(sources.profiles())
    for profile in sources.profiles():
        models = sources.models_of(profile)
        assert set(models) == {"musicgen", "clap"}
        for model in models.values():
            assert (model.license is None) == model.name.startswith("tiny")
            assert (model.repository is None) == model.name.startswith(("tiny", "pocket"))
        if profile in DECLARED:
            assert models["musicgen"].license == DECLARED[profile].license
