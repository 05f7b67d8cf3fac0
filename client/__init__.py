"""What drives a deployment: the command `music`."""

import sys
from pathlib import Path

# In a checkout the shared code lies in layers/, which the images have as /opt/python.
_LAYERS = Path(__file__).resolve().parents[1] / "layers"
if _LAYERS.is_dir() and str(_LAYERS) not in sys.path:
    sys.path.append(str(_LAYERS))
