"""The torch runtime: the same networks as transformers has them, from the same checkpoints.

It is what the engine is compared with, and what runs on a GPU (``RUNTIME=reference``). Nothing else imports
torch.
"""
