"""What starts of workers do, for `bench_models`: they import what the workers import, and no more.

python -m tests.benchmarks.starts --child first_token FOLDER
python -m tests.benchmarks.starts --child vector FOLDER TRACK
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

TOKENS = 20  # of a prompt
STEPS = 1500  # 30 s


def first_token(folder: str) -> None:
    """What generate does up to its first token: load, encode the prompt, one step."""
    import numpy as np

    from music import loading
    from music.musicgen.networks import Condition

    os.environ["MODELS"] = folder
    generator: Any = loading.load("small").generator
    text = generator._text.encode(list(range(1, TOKENS + 1)))
    state = generator._language.start([Condition(text), Condition(None)], STEPS)
    state.advance(np.full((2, 1, 4), 2048))


def vector(folder: str, track: str) -> None:
    """What embed does: load, decode, measure, embed, tag."""
    from music import loading
    from music.analysis import analyse

    os.environ["MODELS"] = folder
    analyse(track, loading.load_embedder("small"))


if __name__ == "__main__":
    _, _, name, *arguments = sys.argv
    if name == "vector":
        vector(*arguments)
    else:
        first_token(*arguments)
    print(json.dumps({"ready": time.time()}))
