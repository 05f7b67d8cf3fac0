"""Where weights come from: checkpoints in the layout of the Hugging Face hub, and the bundles made of them.

A checkpoint is a folder as published (`config.json`, safetensors, a tokenizer). This package opens them
without torch, makes random ones of any size in the same layout, and turns them into the bundles that the
runtime loads. It is a build-time package: a bundle needs nothing of it.

- `tensorfile`: safetensors files, mapped and streamed.
- `configs`, `layouts`: what the published checkpoints declare, and the tensors that follow from it.
- `checkpoint`: opening a folder, and refusing one that is not what it says.
- `synthetic`, `vocabulary`: random checkpoints and their tokenizers.
- `sources`: which models a profile is made of, and the lock that pins them.
- `hub`, `convert`: fetching them, and making safetensors of pickles.
- `bundles`: what the runtime loads, made of them.
"""


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file or tensor and what is wrong with it."""


from weights.checkpoint import Checkpoint  # noqa: E402  (it raises the error above)

__all__ = ["Checkpoint", "CheckpointError"]
