"""What the torch runtime looks up in a checkpoint's folder by itself."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer


def has_safetensors(folder: Path) -> bool:
    """Say whether a checkpoint has whole safetensors; transformers reads its pickles where it has not."""
    if (folder / "model.safetensors").is_file():
        return True
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return False
    shards = json.loads(index.read_text("utf-8"))["weight_map"].values()
    return all((folder / shard).is_file() for shard in shards)


def tokenizer(folder: Path) -> Tokenizer:
    """Load a checkpoint's tokenizer. It neither cuts nor pads a text, whatever it was saved with."""
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.no_truncation()
    whole.no_padding()
    return whole
