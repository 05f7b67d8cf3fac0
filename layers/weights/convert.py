"""Make safetensors of checkpoints that are published as pickles only, once, in a process of its own.

`convert` starts that process with the interpreter that has torch; in it, this module reads with
``weights_only=True``, so that nothing in a pickle can run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from music.engine import safetensors
from weights import CheckpointError
from weights.check import published, shards

if TYPE_CHECKING:
    import torch

_LAYERS = Path(__file__).parents[1]


def convert(source: Path, target: Path) -> list[Path]:
    """Convert the weights of a folder.

    Parameters
    ----------
    source : Path
        Has ``pytorch_model.bin``, or its shards and their index.
    target : Path
        Gets ``model.safetensors``, or its shards and their index.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    CheckpointError
        If torch is not there, or the files are not plain weights.
    """
    python = Path(os.environ.get("TORCH_PYTHON", _LAYERS.parent / ".venv-models/bin/python"))
    if not python.exists():
        raise CheckpointError(
            f"{source} has pytorch_model.bin only; converting it needs torch, once: make .venv-models/ready"
        )
    ran = subprocess.run(
        [python, "-m", "weights.convert", source, target],
        env=os.environ | {"PYTHONPATH": str(_LAYERS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"{source}: cannot be converted: {last}")
    return [target / name for name in ran.stdout.split()]


def main(source: Path, target: Path) -> None:
    """Convert in this process and print the names of the files written."""
    index = source / "pytorch_model.bin.index.json"
    files = sorted(set(shards(index).values())) if index.exists() else ["pytorch_model.bin"]
    seen: dict[str, str] = {}
    for file in files:
        name = file.replace("pytorch_model", "model").replace(".bin", ".safetensors")
        # The embedding that T5 ties is stored under each of its names: one is enough.
        tensors = {published(key): value for key, value in _load(source / file).items()}
        tensors = {key: value for key, value in sorted(tensors.items()) if key not in seen}
        declared = {key: (_DTYPES[str(value.dtype)], tuple(value.shape)) for key, value in tensors.items()}
        safetensors.write(
            target / name, safetensors.widest_first(declared), partial(_numpy, tensors), {"format": "pt"}
        )
        seen |= dict.fromkeys(tensors, name)
        print(name)
    if index.exists():
        name = "model.safetensors.index.json"
        (target / name).write_text(json.dumps({"weight_map": seen}, indent=2, sort_keys=True) + "\n", "utf-8")
        print(name)


_DTYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
}


def _load(path: Path) -> dict[str, torch.Tensor]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise CheckpointError(f"{path}: holds more than tensors")
    return content


def _numpy(tensors: dict[str, torch.Tensor], name: str) -> np.ndarray:
    import torch

    tensor = tensors[name]
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
        return tensor.contiguous().numpy().view(np.uint16)
    return tensor.contiguous().numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
