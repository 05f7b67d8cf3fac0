"""Write the golden answers anew: .venv-models/bin/python -m tests.golden.record."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from music.torch.clap import ClapTowers
from music.torch.encodec import Encodec
from tests.golden import FOLDER, PROFILES, answers
from tests.support import published
from weights import synthetic
from weights.sources import sha256


class Torch:
    """All networks on torch."""

    def __init__(self, folder: Path) -> None:
        loaded = published.load(folder / "musicgen")
        clap = ClapTowers(folder / "clap")
        self.t5, self.musicgen = published.T5(loaded), published.MusicGen(loaded)
        self.encodec = Encodec(folder / "musicgen")
        self.clap_audio, self.clap_text = clap.audio, clap.text


def main() -> None:
    """Record every profile."""
    for profile in PROFILES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            synthetic.write(profile, folder)
            weights = [sha256(folder / part / "model.safetensors") for part in ("musicgen", "clap")]
            found = answers(Torch(folder))
        found["weights"] = np.array(weights)
        np.savez_compressed(FOLDER / f"{profile}.npz", **found)  # type: ignore[arg-type]
        print(profile, (FOLDER / f"{profile}.npz").stat().st_size)


if __name__ == "__main__":
    main()
