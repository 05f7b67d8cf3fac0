"""Twenty-two styles of music; classical music has two ways of being written."""

import random
from collections.abc import Callable

from weights.compose.arrangement import Score
from weights.compose.styles import acoustic, band, classical, electronic

Style = Callable[[random.Random, float], Score]

# Who writes a style, and how often it is drawn.
STYLES: dict[str, tuple[Style, float]] = {
    "ambient": (electronic.ambient, 1.0),
    "lo-fi": (electronic.lofi, 1.1),
    "pop": (band.pop, 1.4),
    "rock": (band.rock, 1.3),
    "synthwave": (electronic.synthwave, 0.9),
    "techno": (electronic.techno, 0.8),
    "house": (electronic.house, 0.8),
    "drum and bass": (electronic.drum_and_bass, 0.7),
    "solo piano": (classical.solo_piano, 1.3),
    "string orchestra": (classical.string_orchestra, 0.9),
    "waltz": (acoustic.waltz, 0.7),
    "folk": (acoustic.folk, 1.1),
    "bluegrass": (acoustic.bluegrass, 0.7),
    "jazz": (band.jazz, 1.1),
    "bossa nova": (band.bossa_nova, 0.8),
    "reggae": (band.reggae, 0.8),
    "marching band": (classical.marching_band, 0.7),
    "funk": (band.funk, 0.8),
    "chiptune": (electronic.chiptune, 0.8),
    "baroque": (classical.baroque, 0.8),
    "lullaby": (acoustic.lullaby, 0.7),
    "film score": (classical.film_score, 1.0),
    "flamenco": (acoustic.flamenco, 0.6),
}
