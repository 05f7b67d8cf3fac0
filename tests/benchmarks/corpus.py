"""Real music to measure on: soundtracks of free games, from Debian's own packages.

Nothing of it is in this repository. Packages are fetched by ``apt-get download``, unpacked without root by
``dpkg -x``, and kept in ``$MUSIC_CORPUS`` (default: ``$XDG_CACHE_HOME`` or ``~/.cache``, then
``music-generation-backend/corpus``), one folder per package. On a machine without apt, put the ``.deb`` files
there.

    python -m tests.benchmarks.corpus [package ...]     fetch, and list the tracks

The constants of `mir-512` are fitted on `FIT_PACKAGES` alone; everything is judged on `JUDGE_PACKAGES`.
"""

import argparse
import gzip
import io
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np

from weights import debian

# Where each package keeps its music: sound effects and speech live in other folders.
PACKAGES = {
    "frozen-bubble-data": "usr/share/games/frozen-bubble/snd",
    "hedgewars-data": "usr/share/games/hedgewars/Data/Music",
    "planetblupi-music-ogg": "usr/share/planetblupi/music",
    "supertux-data": "usr/share/games/supertux2/music",
    "warzone2100-music": "usr/share/games/warzone2100/music",
}
FIT_PACKAGES = ("supertux-data",)
JUDGE_PACKAGES = ("frozen-bubble-data", "hedgewars-data", "planetblupi-music-ogg", "warzone2100-music")

MIN_SECONDS = 54.0  # two excerpts of 20 s from the middle, and what lies between and around them


class CorpusError(Exception):
    """A package is not here and cannot be fetched; the message says what to do."""


@dataclass(frozen=True)
class Track:
    """One recording of the corpus."""

    package: str
    path: Path
    seconds: float
    artist: str | None

    @property
    def name(self) -> str:
        """``package/file``, the same on every machine."""
        return f"{self.package}/{self.path.relative_to(root() / self.package / PACKAGES[self.package])}"


def root() -> Path:
    """Folder of the unpacked packages."""
    if chosen := os.environ.get("MUSIC_CORPUS"):
        return Path(chosen)
    return debian.cache() / "corpus"


def fetch(package: str) -> Path:
    """Make sure that a package is unpacked.

    Returns
    -------
    Path
        The folder of its music.

    Raises
    ------
    CorpusError
        If it is not here and apt cannot fetch it, or the package keeps no music where this one is known to.
    """
    if package not in PACKAGES:
        raise CorpusError(f"{package} is not one of the known packages: {', '.join(PACKAGES)}")
    try:
        music = debian.unpacked(package, root()) / PACKAGES[package]
    except debian.PackageError as error:
        raise CorpusError(str(error)) from error
    if not music.is_dir():
        raise CorpusError(f"{package}: no {PACKAGES[package]} in it")
    return music


@cache
def _probe(path: Path) -> tuple[float, str | None]:
    with av.open(str(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        for stream in container.streams.audio:
            tags |= {key.lower(): value for key, value in stream.metadata.items()}
        return (container.duration or 0) / 1e6, tags.get("artist")


def tracks(packages: Sequence[str] = tuple(PACKAGES), min_seconds: float = MIN_SECONDS) -> list[Track]:
    """Music tracks of some packages, in a fixed order, fetching what is missing.

    Parameters
    ----------
    packages : sequence of str
        Names from `PACKAGES`.
    min_seconds : float
        Shorter files (jingles, stings) are left out.

    Raises
    ------
    CorpusError
        See `fetch`.
    """
    found = []
    for package in packages:
        for path in sorted(fetch(package).rglob("*")):
            if path.suffix in (".ogg", ".opus"):
                seconds, artist = _probe(path)
                if seconds >= min_seconds:
                    found.append(Track(package, path, seconds, artist))
    return found


def in_turn(tracks: Iterable[Track]) -> list[Track]:
    """Order tracks so that their packages take turns: the first few are of all of them."""
    packages: dict[str, list[Track]] = {}
    for track in tracks:
        packages.setdefault(track.package, []).append(track)
    return [track for each in zip_longest(*packages.values()) for track in each if track is not None]


def version(package: str) -> str:
    """Debian version of an unpacked package, from its own changelog."""
    with gzip.open(root() / package / "usr/share/doc" / package / "changelog.Debian.gz", "rt") as log:
        return log.readline().split("(")[1].split(")")[0]


def mp3(stereo: np.ndarray, rate: int, bit_rate: int = 128_000) -> bytes:
    """Encode audio [shape=(2, n)] as mp3 at a constant `bit_rate` in bit/s, all channels together."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="stereo", format="fltp")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo, np.float32), "fltp", "stereo")
        frame.sample_rate = rate
        resampler = av.AudioResampler("fltp", "stereo", rate, frame_size=1152)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(piece))
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch and list."""
    parser = argparse.ArgumentParser(
        description="Fetch the music that the benchmarks measure on, and list it."
    )
    parser.add_argument("packages", nargs="*", default=list(PACKAGES), metavar="package")
    failed = 0
    for package in parser.parse_args(arguments).packages:
        try:
            listed = tracks([package])
        except CorpusError as error:
            failed += 1
            print(error, file=sys.stderr)
            continue
        minutes = sum(track.seconds for track in listed) / 60.0
        print(f"{package} {version(package)}: {len(listed)} tracks, {minutes:.0f} min")
        for track in listed:
            print(f"  {track.seconds:7.1f} s  {track.name}" + (f"  ({track.artist})" if track.artist else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
