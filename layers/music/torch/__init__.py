"""The torch runtime (``RUNTIME=torch``): the same checkpoints, on a GPU where there is one.

Its language model is our own (`language`, `batch`, `decoding`): streams of many generations in one batch, and
each step one CUDA graph, the drawing of tokens inside. T5, EnCodec and CLAP are those of transformers.
Nothing else imports torch.
"""
