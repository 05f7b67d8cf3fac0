"""One PNG that shows a source and what was made from it, side by side: waveform, mel spectrogram, chroma."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter
from PIL import Image

from music.dsp import harmony, spectra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

RATE = 22050
"""Sample rate in Hz of the audio that `compare` draws."""

_INK, _QUIET, _PAPER = "#1d2430", "#7b8494", "#ffffff"
_SOURCE, _RESULT = "#2a6f97", "#c8553d"
_COLUMNS = 1100  # points of a drawn waveform and frames of a drawn spectrogram, about one per pixel
_RANGE_DB = 70.0
_HERTZ = (128, 512, 1024, 2048, 4096, 8192)
_MELS = 128


@dataclass(frozen=True)
class Panel:
    """What stands in one column.

    Attributes
    ----------
    audio : np.ndarray [shape=(n,)]
        Mono at `RATE`, nominal range [-1, 1].
    title : str
        The headline.
    caption : str
        The line below it.
    """

    audio: np.ndarray
    title: str
    caption: str


def compare(source: Panel, result: Panel, path: Path) -> None:
    """Draw two recordings side by side, at equal scales of time, level, frequency and decibels.

    Parameters
    ----------
    source, result : Panel
        Left and right column. Both time axes are as long as the longer recording.
    path : Path
        The PNG to write.
    """
    style: dict[Any, Any] = {"font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}
    style |= {"axes.edgecolor": _QUIET, "axes.linewidth": 0.6, "xtick.color": _QUIET, "ytick.color": _QUIET}
    with mpl.rc_context(style):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.015)
        figure = Figure(figsize=(13, 7.2), dpi=100, facecolor=_PAPER, layout=layout)
        axes = figure.subplots(3, 2, sharex="all", sharey="row", height_ratios=(1.0, 1.9, 1.2), squeeze=False)
        longest = max(source.audio.size / RATE, result.audio.size / RATE, 1e-3)
        for column, (panel, colour) in enumerate(((source, _SOURCE), (result, _RESULT))):
            wave, mel, chroma = axes[:, column]
            seconds = max(panel.audio.size / RATE, 1e-3)
            _waveform(wave, panel.audio, colour)
            wave.set_title(panel.title, loc="left", fontsize=13, fontweight="bold", color=colour, pad=21)
            wave.annotate(
                panel.caption,
                (0, 1),
                xytext=(0, 7),
                xycoords="axes fraction",
                textcoords="offset points",
                color=_QUIET,
            )
            levels = _mel(mel, panel.audio, seconds)
            classes = _chroma(chroma, panel.audio, seconds)
            chroma.set_xlabel("time (s)" if longest < 600 else "time (min:s)")
            chroma.set_xlim(0, longest)
            if longest >= 600:
                chroma.xaxis.set_major_formatter(
                    FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}")
                )
        for row, label in enumerate(("waveform", "mel spectrogram (Hz)", "chroma")):
            axes[row, 0].set_ylabel(label)
        for image, row, label in ((levels, 1, "dB re maximum"), (classes, 2, "share of the strongest")):
            bar = figure.colorbar(image, ax=axes[row, :], pad=0.01, aspect=22 if row == 1 else 14)
            bar.set_label(label)
            bar.outline.set_visible(False)
        drawn = BytesIO()
        figure.savefig(drawn, format="png")
    # 256 colours are enough for two colour maps and text, and make the file a third as large.
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, "png", optimize=True)


def _waveform(axes: Axes, audio: np.ndarray, colour: str) -> None:
    """Peaks, and the root mean square inside them, of as many pieces as there are pixels."""
    edges = np.linspace(0, audio.size, min(_COLUMNS, max(audio.size, 1)) + 1).astype(int)[:-1]
    padded = audio if audio.size else np.zeros(1, np.float32)
    high, low = np.maximum.reduceat(padded, edges), np.minimum.reduceat(padded, edges)
    counts = np.diff(np.append(edges, padded.size))
    rms = np.sqrt(np.add.reduceat(padded.astype(np.float64) ** 2, edges) / counts)
    times = edges / RATE
    axes.fill_between(times, low, high, color=colour, alpha=0.35, linewidth=0)
    axes.fill_between(times, -rms, rms, color=colour, linewidth=0)
    axes.set_ylim(-1, 1)
    axes.set_yticks((-1, 0, 1))
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)


def _mel(axes: Axes, audio: np.ndarray, seconds: float) -> AxesImage:
    hop = max(256, -(-audio.size // _COLUMNS))
    power = spectra.mel_spectrogram(audio, RATE, hop=hop, n_mels=_MELS)
    image = axes.imshow(
        spectra.to_db(power / max(float(power.max(initial=0.0)), 1e-10), _RANGE_DB),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        extent=(0, seconds, 0, _MELS),
        interpolation="bilinear",
    )
    axes.set_yticks([_mel_of(hertz) for hertz in _HERTZ], [f"{hertz:,}" for hertz in _HERTZ])
    axes.spines[:].set_visible(False)
    return image


def _mel_of(hertz: float) -> float:
    """Row of a frequency in the spectrogram: the same scale as its filters' centres."""
    filters = spectra.mel_filterbank(RATE, n_mels=_MELS)
    bins = np.arange(filters.shape[1]) * RATE / (2 * (filters.shape[1] - 1))
    centres = (filters @ bins) / filters.sum(axis=1)
    return float(np.interp(hertz, centres, np.arange(_MELS) + 0.5))


def _chroma(axes: Axes, audio: np.ndarray, seconds: float) -> AxesImage:
    hop = max(512, -(-audio.size // _COLUMNS))
    energy = harmony.chroma(audio, RATE, hop=hop)
    strongest = energy.max(axis=0, keepdims=True)
    image = axes.imshow(
        energy / np.maximum(strongest, 1e-9),
        origin="lower",
        aspect="auto",
        cmap="YlGnBu",
        vmin=0,
        vmax=1,
        extent=(0, seconds, 0, 12),
        interpolation="nearest",
    )
    axes.set_yticks(np.arange(12) + 0.5, harmony.PITCH_CLASSES)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    return image
