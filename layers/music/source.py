"""Where networks are exported from."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """A checkpoint: its config, and its tensors by their published names.

    See Also
    --------
    weights.Checkpoint : one in a folder.
    """

    @property
    def config(self) -> dict[str, Any]: ...

    def tensor(self, name: str) -> np.ndarray:
        """Read a tensor as float32."""
        ...

    def __contains__(self, name: str) -> bool: ...
