"""The reference backend: the same networks on torch and transformers, from the same checkpoints.

What the engine is compared with, and what runs on a GPU (``RUNTIME=reference``). Nothing else imports torch.
"""
