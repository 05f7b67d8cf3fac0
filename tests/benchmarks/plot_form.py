"""Draw docs/form.png: the form of the demo's own track, and of what is made of it.

    python -m tests.benchmarks.plot_form

Each moment of the track has a colour, and what is made of it has the colour of where it comes from. The two
bars that return with the most similar chroma are marked.
"""

from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from client.sample import PATH as SAMPLE
from music.audio.decode import decode, resample
from music.dsp import harmony
from music.features import SAMPLE_RATE
from tests.benchmarks.bench_form import RATE, Source, bar_lines, heard, lines, make

TARGET = Path("docs/form.png")
SEED = 7
COLUMNS = 1400  # of the longer waveform
INK, QUIET = "#1d2430", "#7b8494"


def come_from(times: np.ndarray, runs: list[dict[str, Any]]) -> np.ndarray:
    """Return where in the source each time of what was made of it comes from, in seconds."""
    starts = np.array([run["start"] for run in runs])
    index = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    begins, ends, stretches = (
        np.array([run[name] for run in runs])[index] for name in ("source_start", "source_end", "stretch")
    )
    return np.minimum(begins + (times - starts[index]) / stretches, ends)


def draw(axes: Axes, audio: np.ndarray, runs: list[dict[str, Any]], bars: np.ndarray, whole: float) -> None:
    """Draw a recording in the colours of where it comes from in a source of `whole` seconds, and its bars."""
    seconds = audio.shape[1] / RATE
    edges = np.linspace(0.0, seconds, round(COLUMNS * seconds / whole) + 1)
    loud = np.maximum.reduceat(np.abs(audio).max(axis=0), (edges[:-1] * RATE).astype(np.int64))
    loud *= 0.95 / loud.max()
    places = come_from(0.5 * (edges[:-1] + edges[1:]), runs)
    colours = mpl.colormaps["turbo"](0.05 + 0.9 * places / whole)
    axes.bar(edges[:-1], 2.0 * loud, np.diff(edges), -loud, align="edge", color=colours)
    axes.vlines(bars, -1.08, -1.0, color=INK, linewidth=1.0)
    axes.vlines([run["start"] for run in runs[1:]], -1.0, 1.0, color="white", linewidth=1.2)
    axes.set(xlim=(0.0, whole), ylim=(-1.15, 1.5), yticks=[])
    axes.spines[:].set_visible(False)


def returning(audio: np.ndarray, bars: np.ndarray) -> list[tuple[float, float]]:
    """Find the two bars that return with the highest correlation of chroma, in 16 steps: both times."""
    hop = 512
    chroma = harmony.chroma(resample(audio, RATE, SAMPLE_RATE), SAMPLE_RATE, hop=hop)
    phrases = list(zip(bars[:-2], bars[2:], strict=True))

    def described(phrase: tuple[float, float]) -> np.ndarray:
        columns = (np.linspace(*phrase, 4 * 16, endpoint=False) * SAMPLE_RATE / hop).astype(np.int64)
        return chroma[:, np.minimum(columns, chroma.shape[1] - 1)].reshape(12, 16, 4).mean(axis=2).ravel()

    pairs = [(one, other) for one, other in combinations(phrases, 2) if other[0] > one[1] - 0.1]
    alike = [np.corrcoef(described(one), described(other))[0, 1] for one, other in pairs]
    return list(pairs[int(np.argmax(alike))])


def mark(axes: Axes, phrases: list[tuple[float, float]]) -> None:
    """Put brackets over phrases."""
    for begin, end in phrases:
        axes.plot([begin, begin, end, end], [1.06, 1.14, 1.14, 1.06], color=INK, linewidth=1.2)
        axes.text(0.5 * (begin + end), 1.18, "A", ha="center", va="bottom", color=INK)


def main() -> None:
    """Make, and draw."""
    audio = decode(SAMPLE, rate=RATE, channels=2)
    source = Source(SAMPLE.name, audio, heard(audio))
    candidate, made = make(source, seed=SEED)
    runs, whole = candidate.details["runs"], audio.shape[1] / RATE
    with mpl.rc_context({"font.size": 10, "text.color": INK, "xtick.color": QUIET}):
        figure = Figure(figsize=(11, 3.6), dpi=100, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        itself = [{"start": 0.0, "source_start": 0.0, "source_end": whole, "stretch": 1.0}]
        bars = np.array(bar_lines(source.features))
        draw(above, audio, itself, bars, whole)
        begins = lines(candidate, bars)
        begins = begins[np.diff(begins, prepend=-1.0) > 0.2]  # where runs meet, one ends and one begins
        draw(below, made, runs, begins, whole)
        mark(below, returning(made, begins))
        above.set_title("The track: every moment has a colour", loc="left", fontsize=10)
        below.set_title(
            "What is made of it: the colours of where it comes from; A returns", loc="left", fontsize=10
        )
        below.set_xlabel("time (s), with a mark where each bar begins", color=QUIET)
        figure.savefig(TARGET, metadata={"Software": None})


if __name__ == "__main__":
    main()
