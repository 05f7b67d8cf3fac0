"""What torch saves is read without torch: tensors of every kind, and nothing else."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from music.engine.bundle import open_bundle
from tests.support import pickled
from tests.support.pickled import archive, call, dictionary, integer, items, name, storage, tensor, text
from weights import Checkpoint, CheckpointError, pack, pytorch, synthetic

_FLOATS = np.arange(12, dtype=np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    synthetic.write("tiny", folder)
    return folder


@pytest.mark.parametrize("part", ["musicgen", "clap"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_pickled_checkpoint_holds_what_its_safetensors_hold(
    made: Path, tmp_path: Path, part: str, shards: int
) -> None:
    before, after = (
        Checkpoint(made / part),
        Checkpoint(pickled.checkpoint(made / part, tmp_path / part, shards)),
    )
    assert len(after.weights) == (1 if shards == 1 else 1 + shards)
    assert after.names() == before.names()
    for tensor_name in before.names():
        assert after.shape(tensor_name) == before.shape(tensor_name)
        if not tensor_name.endswith(("_ids", "_index", "_tracked")):
            np.testing.assert_array_equal(after.tensor(tensor_name), before.tensor(tensor_name))


def test_a_pickled_checkpoint_makes_the_same_bundle(made: Path, tmp_path: Path) -> None:
    for part, shards in (("musicgen", 2), ("clap", 1)):
        pickled.checkpoint(made / part, tmp_path / "given" / part, shards)
    before = sorted((tmp_path / "given").rglob("*"))
    one = pack.build("tiny", str(made), "int8", tmp_path / "one")
    other = pack.build("tiny", str(tmp_path / "given"), "int8", tmp_path / "other")
    for file in open_bundle(one).manifest["files"]:
        assert (other / file).read_bytes() == (one / file).read_bytes(), file
    assert sorted((tmp_path / "given").rglob("*")) == before, "a folder that was given is not written to"


@pytest.mark.parametrize("kind", pickled.KINDS)
@pytest.mark.parametrize("order", ["little", "big", None])
def test_every_type_and_order_of_bytes_is_read_exactly(tmp_path: Path, kind: str, order: str | None) -> None:
    values = np.array([[0, 1, 1], [0, 1, 0]]) if kind == "bool" else np.array([[0, 1, 100], [7, 3, 2]])
    given = values.astype(np.dtype(kind).newbyteorder(">" if order == "big" else "<"))
    over = storage(pickled.KINDS[kind], "0", 6)
    archive(tmp_path / "x", dictionary({"x": tensor(over, 0, (2, 3), (3, 1))}), {"0": given.tobytes()}, order)
    found = pytorch.read(tmp_path / "x")["x"]
    np.testing.assert_array_equal(found.raw(), values.astype(kind))
    if kind.startswith("float"):
        assert found.float32().dtype == np.float32
        np.testing.assert_array_equal(found.float32(), values)
    else:
        with pytest.raises(TypeError, match="not a floating type"):
            found.float32()


@pytest.mark.parametrize("order", ["little", "big"])
def test_bfloat16_is_read_exactly(tmp_path: Path, order: str) -> None:
    values = np.array([0.0, 1.0, -2.5, 448.0], np.float32)
    stored = (values.view(np.uint32) >> 16).astype(">u2" if order == "big" else "<u2")
    pickle_ = dictionary({"x": tensor(storage("BFloat16Storage", "0", 4), 0, (4,), (1,))})
    archive(tmp_path / "x", pickle_, {"0": stored.tobytes()}, order)
    np.testing.assert_array_equal(pytorch.read(tmp_path / "x")["x"].float32(), values)


def test_tensors_share_a_storage_and_lie_in_it_as_they_like(tmp_path: Path) -> None:
    over = storage("FloatStorage", "0", 12)
    views = {
        "whole": (0, (3, 4), (4, 1), _FLOATS.reshape(3, 4)),
        "transposed": (0, (4, 3), (1, 4), _FLOATS.reshape(3, 4).T),
        "column": (2, (3,), (4,), _FLOATS[2::4]),
        "corner": (5, (2, 2), (4, 1), _FLOATS.reshape(3, 4)[1:, 1:3]),
        "repeated": (1, (5, 2), (0, 1), np.tile(_FLOATS[1:3], (5, 1))),
        "number": (11, (), (), _FLOATS[11]),
        "empty": (12, (0, 3), (3, 1), np.empty((0, 3))),
    }
    pickle_ = dictionary({key: tensor(over, *view[:3]) for key, view in views.items()})
    archive(tmp_path / "x", pickle_, {"0": _FLOATS.tobytes()}, root="pytorch_model")
    found = pytorch.read(tmp_path / "x")
    for key, (*_, expected) in views.items():
        np.testing.assert_array_equal(found[key].float32(), expected, err_msg=key)
        with pytest.raises(ValueError, match="read-only"):
            found[key].raw()[...] = 0


def test_a_tensor_takes_memory_only_where_it_is_converted(tmp_path: Path) -> None:
    pickled.save(
        tmp_path / "x", {"single": np.zeros(8 << 20, np.float32), "half": np.zeros(1 << 20, np.float16)}
    )
    tracemalloc.start()
    try:
        found = pytorch.read(tmp_path / "x")
        single = found["single"].float32()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        half = found["half"].float32()
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
    assert (single.nbytes, half.nbytes) == (32 << 20, 4 << 20)


def test_a_parameter_is_the_tensor_that_it_holds(tmp_path: Path) -> None:
    inner = tensor(storage("FloatStorage", "0", 12), 0, (12,), (1,))
    made_of = call(
        name("torch._utils", "_rebuild_parameter"), inner, b"\x88", call(name("collections", "OrderedDict"))
    )
    archive(tmp_path / "x", dictionary({"x": made_of}), {"0": _FLOATS.tobytes()})
    np.testing.assert_array_equal(pytorch.read(tmp_path / "x")["x"].raw(), _FLOATS)


_GOOD = storage("FloatStorage", "0", 12)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (call(name("os", "system"), text("touch exploded")), "holds os system, which is no tensor"),
        (call(name("builtins", "eval"), text("1")), "holds builtins eval"),
        (name("os", "system"), "holds more than tensors"),
        (call(_GOOD, text("x")), "calls what is no name"),
        (name("os", "system") + b")\x81", "an instruction NEWOBJ"),
        (b"(S'x'\nios\nsystem\n", "an instruction STRING"),
        (text("x") + text("y") + b"\x93", "an instruction STACK_GLOBAL"),
        (name("os", "system") + b"}b", "an instruction BUILD"),
        (b"]", "an instruction EMPTY_LIST"),
        (b"\x8f", "an instruction EMPTY_SET"),
        (b"\x82\x01", "an instruction EXT1"),
        (integer(3), "holds more than tensors"),
        (b"}" + text("nested") + tensor(_GOOD, 0, (12,), (1,)) + b"s", "holds more than tensors"),
        (b"}" + integer(3) + integer(4) + b"s", "a tensor's name is int"),
        (_GOOD, "holds more than tensors"),
        (storage("ComplexFloatStorage", "0", 6), "holds torch ComplexFloatStorage"),
        (
            items(text("storage"), name("os", "system"), text("0"), text("cpu"), integer(1)) + b"Q",
            "os system",
        ),
        (text("0") + b"Q", "names something else than a storage"),
        (storage("FloatStorage", "0", 13), "has 48 bytes, not 13 elements of F32"),
        (storage("FloatStorage", "0", -1), "has 48 bytes, not -1 elements"),
        (storage("FloatStorage", "0", 1 << 80), "has 48 bytes, not"),
        (storage("DoubleStorage", "0", 12), "has 48 bytes, not 12 elements of F64"),
        (storage("FloatStorage", "../data.pkl", 12), r"has no 'archive/data/\.\./data\.pkl'"),
        (storage("FloatStorage", "/etc/passwd", 12), "has no 'archive/data//etc/passwd'"),
        (tensor(_GOOD, 0, (13,), (1,)), r"shape \(13,\) lies outside of its storage"),
        (tensor(_GOOD, 1, (3, 4), (4, 1)), "lies outside of its storage"),
        (tensor(_GOOD, 0, (2, 2), (11, 1)), "lies outside of its storage"),
        (tensor(_GOOD, 13, (0,), (1,)), "lies outside of its storage"),
        (tensor(_GOOD, -1, (1,), (1,)), "hold int, no plain count"),
        (tensor(_GOOD, 3, (2,), (-1,)), "hold int, no plain count"),
        (tensor(_GOOD, 0, (-2,), (1,)), "hold int, no plain count"),
        (tensor(_GOOD, 0, (1 << 70,), (0,)), "hold int, no plain count"),
        (tensor(_GOOD, 0, (1 << 40, 1 << 40), (0, 0)), "repeats a storage of 48 bytes too often"),
        (tensor(_GOOD, 0, (1 << 20,), (0,)), "repeats a storage of 48 bytes too often"),
        (tensor(_GOOD, 0, (1,) * 40, (1,) * 40), "hold tuple, no plain count"),
        (tensor(_GOOD, 0, (3, 4), (1,)), "damaged"),
        (tensor(integer(1), 0, (1,), (1,)), "holds torch._utils _rebuild_tensor_v2, which is no tensor"),
        (b"h\x07", "damaged"),
        (b"a", "an instruction APPEND"),
        (b"0", "an instruction POP"),
        (b"t", "damaged"),
        (b"\x8e" + bytes([255] * 7 + [127]), "damaged"),  # bytes of 2^63, which are not there
        (b"\x8b\xff\xff\xff\x7f", "damaged"),
        (b"\xff", "damaged"),
    ],
)
def test_a_pickle_that_is_more_than_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "x.bin", dictionary({"x": value}), {"0": _FLOATS.tobytes()})
    with pytest.raises(CheckpointError, match=rf"x\.bin: .*{message}"):
        pytorch.read(tmp_path / "x.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_far_place_in_the_memo_takes_no_memory(tmp_path: Path) -> None:
    value = tensor(_GOOD, 0, (12,), (1,)) + b"r\xff\xff\xff\xff"  # put at 2^32 - 1
    archive(tmp_path / "x", dictionary({"x": value}), {"0": _FLOATS.tobytes()})
    assert list(pytorch.read(tmp_path / "x")) == ["x"]


@pytest.mark.parametrize("protocol", [0, 3, 4, 5])
def test_other_protocols_of_pickles_are_refused(tmp_path: Path, protocol: int) -> None:
    archive(tmp_path / "x", pickle.dumps({"a": 1}, protocol), {})
    with pytest.raises(CheckpointError, match="an instruction"):
        pytorch.read(tmp_path / "x")


def test_the_format_before_archives_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(CheckpointError, match=r"x\.bin: not a file of torch\.save since PyTorch 1\.6"):
        pytorch.read(tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"x\.bin"):
        pytorch.read(tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=r"none\.bin: cannot be read"):
        pytorch.read(tmp_path / "none.bin")


_PLAIN = dictionary({"x": tensor(_GOOD, 0, (12,), (1,))})


def _with(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for member, data in members:
            file.writestr(member, data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_torch_would_not_write_is_refused(tmp_path: Path) -> None:
    path, pickle_, data = tmp_path / "x", ("a/data.pkl", _PLAIN), ("a/data/0", _FLOATS.tobytes())
    _with(path, pickle_, data)
    assert list(pytorch.read(path)) == ["x"]
    for members, message in (
        ((pickle_, data, data), "two members of one name"),
        ((data,), "no data.pkl, or several"),
        ((pickle_, data, ("b/data.pkl", _PLAIN)), "no data.pkl, or several"),
        ((("../a/data.pkl", _PLAIN), ("../a/data/0", data[1])), "no data.pkl, or several"),
        ((pickle_,), "has no 'a/data/0'"),
        ((pickle_, data, ("a/byteorder", b"middle")), "neither little nor big"),
        ((("a/data.pkl", _PLAIN[:-1]), data), "cut short|damaged"),
        ((("a/data.pkl", bytes(5 << 20)), data), "data.pkl has 5242880 bytes"),
    ):
        _with(path, *members)
        with pytest.raises(CheckpointError, match=message):
            pytorch.read(path)
    _with(path, pickle_, data, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        pytorch.read(path)


def test_an_endless_list_of_members_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr("a/data.pkl", _PLAIN)
        for number in range(100):
            file.writestr(f"a/{number:060000}", b"")
    with pytest.raises(CheckpointError, match="list of members is too long"):
        pytorch.read(tmp_path / "x")


def test_damage_anywhere_is_an_error_or_another_number_and_never_a_crash(tmp_path: Path) -> None:
    archive(tmp_path / "good", _PLAIN, {"0": _FLOATS.tobytes()})
    good = (tmp_path / "good").read_bytes()
    path = tmp_path / "bad"
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ (0xFF, 0x01, 0x80)[at % 3]]) + good[at + 1 :])
        try:
            found = pytorch.read(path)
        except CheckpointError:
            continue
        assert [value.raw().size for value in found.values()] == [12]
    for at in range(0, len(good), 10):
        path.write_bytes(good[:at])
        with pytest.raises(CheckpointError):
            pytorch.read(path)


def test_an_index_whose_shards_are_not_there_is_passed_over_for_what_is_whole(
    made: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made / "musicgen", tmp_path / "musicgen"))
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint(folder).weights == ("model.safetensors",)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"index\.json lists model-00001-of-00002\.safetensors, which is not"
    ):
        Checkpoint(folder)
    whole = pickled.checkpoint(made / "musicgen", tmp_path / "pickled")
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint(whole).weights == ("pytorch_model.bin",)
