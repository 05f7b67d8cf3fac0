"""Checkpoints as they are published, written by torch.

    python -m tests.models.publishing PROFILE FOLDER LAYOUT

Random weights of the profile in `FOLDER`: MusicGen in the layout, one of `LAYOUTS`, and CLAP as a pickle.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from weights import synthetic
from weights.check import WEIGHTS, shards

LAYOUTS = {
    "one safetensors": "small",
    "sharded safetensors": "melody",
    "one pickle": "medium",
    "two pickle shards": "large",
}
"""By layout, the profile whose MusicGen is published in it."""


def publish(profile: str, folder: Path, layout: str) -> None:
    """Write the checkpoints of a profile into the folders ``musicgen`` and ``clap``."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        synthetic.write(profile, scratch)
        _save(Path(scratch) / "musicgen", folder / "musicgen", layout)
        _save(Path(scratch) / "clap", folder / "clap", "one pickle")


def _save(source: Path, target: Path, layout: str) -> None:
    """Copy a checkpoint into another layout."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", *WEIGHTS))
    index = source / "model.safetensors.index.json"
    where = shards(index) if index.exists() else {}
    files = sorted(set(where.values())) or ["model.safetensors"]
    opened = [safe_open(source / file, framework="pt") for file in files]
    tensors = {name: file for file in opened for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    names = sorted(tensors)
    if layout.startswith("one"):
        held = {name: tensors[name].get_tensor(name) for name in names}
        if layout == "one pickle":
            if "text_encoder.shared.weight" in held:
                held["text_encoder.encoder.embed_tokens.weight"] = held["text_encoder.shared.weight"]
            torch.save(held, target / "pytorch_model.bin")
        else:
            save_file(held, target / "model.safetensors", {"format": "pt"})
        return
    pickled = layout == "two pickle shards"
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    middle = len(names) // 2
    listed: dict[str, str] = {}
    for number, part in enumerate((names[:middle], names[middle:]), start=1):
        file = f"{stem}-{number:05}-of-00002.{ending}"
        held = {name: tensors[name].get_tensor(name) for name in part}
        if pickled:
            torch.save(held, target / file)
        else:
            save_file(held, target / file, {"format": "pt"})
        listed |= dict.fromkeys(part, file)
    (target / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))


if __name__ == "__main__":
    publish(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
