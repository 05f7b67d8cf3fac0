"""From the tensors of a checkpoint to those of a bundle: one module for each network, named as its file is.

A network's file holds its matrices packed for the engine's kernels, layers that are computed together
stacked on each other, and what the runtime has to know of the config as metadata. A checkpoint that could be
opened is known to be of a network that runs here (see `weights.check`); an exporter relies on that.
"""

from __future__ import annotations

from collections.abc import Callable

from weights.check import Checkpoint
from weights.export import clap_audio, clap_tags, clap_text, encodec, musicgen, t5
from weights.export.layers import Calibration, Exported

EXPORTERS: dict[str, Callable[..., Exported]] = {
    "t5": t5.export,
    "musicgen": musicgen.export,
    "encodec": encodec.export,
    "clap_audio": clap_audio.export,
    "clap_text": clap_text.export,
    "clap_tags": clap_tags.export,
}
"""The exporter of each network (see `music.engine.bundle.NETWORKS`)."""


def export(
    network: str, checkpoint: Checkpoint, precision: str, calibration: Calibration | None = None
) -> Exported:
    """Export one network of a checkpoint.

    Parameters
    ----------
    network : str
        A key of `EXPORTERS`.
    checkpoint : Checkpoint
        Of MusicGen, or of CLAP for the networks whose names begin with ``clap``.
    precision : str
        The precision of the bundle, one of `music.engine.packing.PRECISIONS`. Each exporter says which of its
        tensors follow it.
    calibration : Calibration, optional
        What `weights.calibrate` found, for ``t5`` and ``musicgen``.

    Returns
    -------
    tensors : dict of str to np.ndarray or Weight
    metadata : dict
        Both are what `music.engine.packing.write` takes.

    Raises
    ------
    WeightsError
        If a matrix holds values that are not finite, or cannot be packed.

    Examples
    --------
    >>> write(path, *export("t5", Checkpoint("checkpoints/small/musicgen"), "int8"))   # doctest: +SKIP
    """
    if calibration is None:
        return EXPORTERS[network](checkpoint, precision)
    return EXPORTERS[network](checkpoint, precision, calibration)
