"""What the endpoint's container refuses, each by its name, without a GPU and before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from functions.endpoint import machine
from functions.endpoint.machine import Driver, Refused
from local.template import ROOT, read
from music.torch import memory
from weights import configs, layouts

GB = 10**9


class FakeCuda:
    """The driver's library."""

    def __init__(self, version: int = 13000, *gpus: tuple[str, int], broken: bool = False) -> None:
        self.version, self.gpus, self.broken = version, gpus, broken

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 100 if self.broken or not self.gpus else 0  # CUDA_ERROR_NO_DEVICE

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, out: Any, number: int) -> int:  # noqa: N802
        out._obj.value = number
        return 0

    def cuDeviceGetName(self, out: Any, length: int, device: Any) -> int:  # noqa: N802
        out.value = self.gpus[device.value][0].encode()
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, device: Any) -> int:  # noqa: N802
        out._obj.value = self.gpus[device.value][1]
        return 0


def refusal(*arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        machine.require_gpu(*arguments)
    return caught.value


def test_what_the_driver_says_is_read() -> None:
    library = FakeCuda(12080, ("NVIDIA A10G", 24 * GB), ("NVIDIA L4", 23 * GB))
    driver = machine.read_driver(lambda name: library)
    assert driver == Driver((12, 8), (("NVIDIA A10G", 24 * GB), ("NVIDIA L4", 23 * GB)))


def test_a_container_without_a_driver_has_none() -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert machine.read_driver(missing) is None
    assert refusal("13.0", None, GB).code == "no_gpu"


def test_a_driver_without_a_gpu_is_refused() -> None:
    driver = machine.read_driver(lambda name: FakeCuda(13000))
    assert driver == Driver((13, 0), ())
    assert refusal("13.0", driver, GB).code == "no_gpu"


@pytest.mark.parametrize(
    ("built_for", "runs", "refused"),
    [("13.0", (12, 8), True), ("12.8", (12, 0), False), ("12.8", (13, 0), False), ("12.1", (11, 8), True)],
)
def test_a_driver_of_an_older_major_version_is_too_old(
    built_for: str, runs: tuple[int, int], refused: bool
) -> None:
    driver = Driver(runs, (("NVIDIA A10G", 24 * GB),))
    if refused:
        found = refusal(built_for, driver, GB)
        assert found.code == "driver_too_old"
        assert built_for in found.detail
        assert f"{runs[0]}.{runs[1]}" in found.detail
    else:
        machine.require_gpu(built_for, driver, GB)


def test_the_machine_image_of_the_template_has_the_driver_that_the_locked_torch_needs() -> None:
    ami = read()["Parameters"]["EndpointAmi"]["Default"]
    variant: Any = (
        botocore.session.get_session().get_service_model("sagemaker").shape_for("ProductionVariant")
    )
    known = variant.members["InferenceAmiVersion"]
    assert ami in known.enum
    (runs,) = re.findall(
        rf"<dt>{ami}</dt>(?:(?!<dt>).)*CUDA version: (\d+)\.(\d+)", known.documentation, re.DOTALL
    )
    lock = (ROOT / "functions/endpoint/torch/requirements.txt").read_text()
    (built_for,) = re.findall(r"^nvidia-cuda-runtime==(\d+\.\d+)\.", lock, re.MULTILINE)
    driver = Driver((int(runs[0]), int(runs[1])), (("NVIDIA A10G", 24 * GB),))
    machine.require_gpu(built_for, driver, GB)


def test_a_gpu_that_is_too_small_is_refused_with_both_sizes() -> None:
    driver = Driver((13, 0), (("NVIDIA T4", 16 * GB),))
    machine.require_gpu("13.0", driver, 16 * GB)
    found = refusal("13.0", driver, 17 * GB)
    assert found.code == "too_little_gpu_memory"
    assert "17.0 GB" in found.detail
    assert "NVIDIA T4 has 16.0 GB" in found.detail


def test_a_machine_without_a_gpu_is_asked_for_its_own_memory() -> None:
    machine.require_memory(2 * GB, 2 * GB)
    with pytest.raises(Refused, match=r"3\.0 GB of memory are needed, and 2\.0 GB") as caught:
        machine.require_memory(3 * GB, 2 * GB)
    assert caught.value.code == "too_little_memory"


# -- the prediction


PUBLISHED = ("small", "medium", "large", "melody", "stereo-small")


@pytest.mark.parametrize(
    "model", ["tiny", "tiny-melody", "tiny-stereo", *(f"musicgen-{name}" for name in PUBLISHED)]
)
def test_the_numbers_of_the_networks_are_counted_exactly(model: str) -> None:
    config = configs.complete(configs.files(model)["config.json"])
    sizes: dict[str, int] = {}
    for name, tensor in layouts.layout(config).items():
        part = name.partition(".")[0]
        if "embed_positions" in name or name == "text_encoder.encoder.embed_tokens.weight":
            continue  # computed, and the same tensor as another one
        size = 1
        for length in tensor.shape:
            size *= length
        sizes[part] = sizes.get(part, 0) + size
    language = sizes["decoder"] + sizes["enc_to_dec_proj"] + sizes.get("audio_enc_to_dec_proj", 0)
    assert memory.language_parameters(config) == language
    assert memory.text_parameters(config) == sizes["text_encoder"]
    assert 4 * sizes["audio_encoder"] < memory._CODEC_BYTES


def predicted(model: str, precision: str = "bfloat16", streams: int = 1) -> float:
    """Gigabytes."""
    config = configs.files(model)["config.json"]
    return memory.needed(config, precision, streams, 304, machine.GPU_BYTES) / GB


def test_more_streams_and_wider_numbers_take_more() -> None:
    small = predicted("musicgen-small")
    assert small < predicted("musicgen-small", streams=2) < predicted("musicgen-small", streams=32)
    assert small < predicted("musicgen-small", "float32")
    assert small < predicted("musicgen-medium") < predicted("musicgen-large")


def test_large_fits_a_card_of_24_gb_with_few_streams_and_not_with_many() -> None:
    assert predicted("musicgen-large", streams=4) < 24 < predicted("musicgen-large", streams=8)


def test_the_streams_that_the_documentation_promises_fit_and_no_more() -> None:
    usable = (15.6, 23.6, 47.6, 84.9)  # gigabytes that the driver says of cards of 16, 24, 48 and 80 GiB
    text = (ROOT / "docs/deploying.md").read_text()
    rows = re.findall(r"^\| (`[a-z`, -]+`) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    promised = {name: row[1:] for row in rows for name in re.findall(r"`([a-z-]+)`", row[0])}
    assert promised.keys() == set(PUBLISHED)
    for name, counts in promised.items():
        for size, count in zip(usable, map(int, counts), strict=True):
            assert predicted(f"musicgen-{name}", streams=count) <= size
            most = 64  # of the template's parameter
            assert count == most or predicted(f"musicgen-{name}", streams=count + 1) > size


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}])
def test_the_config_of_something_else_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="none of MusicGen's"):
        memory.needed(config, "float32", 1, 304, 0)


# -- the files


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    files = {"config.json": json.dumps({"model_type": "musicgen"}), "model.safetensors": "weights"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    sums = [f"{hashlib.sha256(text.encode()).hexdigest()}  ./{name}" for name, text in files.items()]
    (tmp_path / machine.SUMS).write_text("\n".join(sums) + "\n")
    return tmp_path


def test_whole_weights_are_taken(checkpoint: Path) -> None:
    machine.verify(checkpoint)
    assert machine.read_config(checkpoint) == {"model_type": "musicgen"}


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no list", "empty list", "nonsense"])
def test_damaged_weights_are_refused_by_the_files_name(checkpoint: Path, damage: str) -> None:
    weights, sums = checkpoint / "model.safetensors", checkpoint / machine.SUMS
    if damage == "changed":
        weights.write_text("WEIGHTS")
    elif damage == "cut":
        weights.write_text("weight")
    elif damage == "missing":
        weights.unlink()
    elif damage == "no list":
        sums.unlink()
    elif damage == "empty list":
        sums.write_text("")
    else:
        sums.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match=r"model\.safetensors|SHA256SUMS") as caught:
        machine.verify(checkpoint)
    assert caught.value.code == "weights_damaged"


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_config_that_cannot_be_read_is_damaged_weights(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(Refused, match=r"config\.json") as caught:
        machine.read_config(checkpoint)
    assert caught.value.code == "weights_damaged"
