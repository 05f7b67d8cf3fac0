"""Where weights come from: checkpoints in the layout of the Hugging Face hub, and the bundles made of them.

A checkpoint is a folder as published (`config.json`, weights, a tokenizer). This package opens them
without torch, makes random ones of any size in the same layout, and turns them into the bundles that the
runtime loads. It belongs to the build: no image holds it, and a bundle needs nothing of it.

In the order of a build (``python -m weights build``):

- `sources`: which models a profile is made of, and the lock that pins them.
- `fetch`: getting a checkpoint from the hub.
- `check`: opening a checkpoint, and refusing one that is not what it says or does not run here. `pytorch`
  reads the pickled ones; `configs` are the defaults that published configs rely on, `layouts` the tensors
  that follow from a config.
- `calibrate`: which activations integers are too coarse for, and what integers cost in the end.
- `export`: from a checkpoint's tensors to those of a bundle, a module for each network.
- `pack`: all of it together, into a bundle and its manifest.

Beside them, `synthetic` writes random checkpoints and `tokenizers` their tokenizers; `sensitivity` reports
what each matrix loses as integers. `compose` writes and renders music of which tempo, key and beats are
known: tests and benchmarks judge the analysis by it.
"""


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file or tensor and what is wrong with it."""


from weights.check import Checkpoint  # noqa: E402  (it raises the error above)

__all__ = ["Checkpoint", "CheckpointError"]
