"""The seeds of candidates."""

import numpy as np


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Seeds of candidates: the first is `seed` itself, so each candidate is the single run with its own seed.

    More candidates have the seeds of fewer, and then some.

    Examples
    --------
    >>> candidate_seeds(7, 3)[0]
    7
    """
    drawn = np.random.SeedSequence(seed % 2**64).generate_state(max(count - 1, 0), np.uint32)
    return [seed, *(int(value) for value in drawn)]
