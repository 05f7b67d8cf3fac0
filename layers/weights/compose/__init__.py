"""Music with known truth: pieces composed from a seed, and rendered to audio.

A piece carries its notes and everything that an analysis may be asked for: tempo, key, mode, meter, beats
and downbeats, style, instruments, mood and energy. It is composed by rules, with no data, and a seed always
gives the same piece. Tests of the analysis measure on such pieces, and the weights of the profile `pocket`
are trained on them.

    piece = compose(seed=7, seconds=30.0)
    audio = render(piece, rate=32000, channels=1, soundfont=path)

`python -m weights.compose` renders many pieces on several processes.
"""

from weights.compose.composer import compose
from weights.compose.mix import render
from weights.compose.piece import Piece
from weights.compose.styles import STYLES

__all__ = ["STYLES", "Piece", "compose", "render"]
