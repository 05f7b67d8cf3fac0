"""The tags of `music.clap.tags`, embedded by the text tower of a CLAP checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from music.clap.tags import categories, prompts, tags_of
from music.clap.text_encoder import ClapText
from music.engine.packing import Tensors, write
from weights.check import Checkpoint
from weights.export import clap_text
from weights.export.layers import Exported


def export(checkpoint: Checkpoint, precision: str) -> Exported:
    """Embed every tag.

    The result is the same at every `precision`: tags are embedded once, in float32, which costs the runtime
    nothing.
    """
    tags = tags_of(checkpoint.folder)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "text", *clap_text.export(checkpoint, "float32"))
        text = ClapText(Tensors(Path(folder) / "text"))
        vectors = [text(tokenizer.encode(prompt).ids) for prompt in prompts(tags)]
    unit = np.stack(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"tags": unit.astype(np.float32)}, {
        "network": "clap_tags",
        "precision": "float32",
        "scale": float(np.exp(checkpoint.tensor("logit_scale_a"))),
        "categories": categories(tags),
    }
