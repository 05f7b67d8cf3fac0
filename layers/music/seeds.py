"""The seeds of candidates."""

import numpy as np


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Derive the seeds of candidates.

    The first is `seed` itself, so that each candidate is the single run with its own seed; and more
    candidates have the seeds of fewer, and then some.

    Parameters
    ----------
    seed : int
        Any integer; those that are equal modulo 2**64 have the same successors.
    count : int
        How many seeds are wanted, at least 1.

    Returns
    -------
    list of int
        `seed`, and then numbers of 32 bits.

    Examples
    --------
    >>> candidate_seeds(7, 3)[0]
    7
    """
    drawn = np.random.SeedSequence(seed % 2**64).generate_state(max(count - 1, 0), np.uint32)
    return [seed, *(int(value) for value in drawn)]
