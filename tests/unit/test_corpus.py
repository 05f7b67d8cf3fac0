"""The benchmarks' own arithmetic, and what they say where there is no music."""

from pathlib import Path

import numpy as np
import pytest

from music.mir512 import embedder
from tests.benchmarks import bench_embedder, corpus


def test_the_corpus_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSIC_CORPUS", str(tmp_path))
    assert corpus.root() == tmp_path
    monkeypatch.delenv("MUSIC_CORPUS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert corpus.root() == tmp_path / "cache/music-generation-backend/corpus"


def test_music_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSIC_CORPUS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(corpus.CorpusError, match=r"frozen-bubble-data: no apt-get here; put .*\.deb"):
        corpus.tracks(["frozen-bubble-data"])
    with pytest.raises(corpus.CorpusError, match="known packages"):
        corpus.fetch("no-such-music")


def test_what_was_fitted_is_not_judged() -> None:
    assert not set(corpus.FIT_PACKAGES) & set(corpus.JUDGE_PACKAGES)
    assert set(corpus.FIT_PACKAGES) | set(corpus.JUDGE_PACKAGES) == set(corpus.PACKAGES)
    fitted = corpus.Track(corpus.FIT_PACKAGES[0], Path("x.ogg"), 60.0, None)
    with pytest.raises(ValueError, match="same packages: supertux-data"):
        bench_embedder.describe_split([fitted])


@pytest.mark.parametrize("seconds", [54, 55, 180])
def test_excerpts_of_the_middle_are_disjoint_and_inside(seconds: int) -> None:
    where = bench_embedder.excerpts(seconds * embedder.SAMPLE_RATE, embedder.SAMPLE_RATE)
    before, after = where["before"], where["after"]
    assert 0 <= before.start < before.stop < after.start < after.stop <= seconds * embedder.SAMPLE_RATE
    assert all(part.stop - part.start == 20 * embedder.SAMPLE_RATE for part in where.values())


def test_recall_counts_own_neighbours() -> None:
    answers = np.eye(4)
    queries = np.eye(4)[[0, 1, 3, 2]]
    assert bench_embedder.recall(answers, answers) == 1.0
    assert bench_embedder.recall(queries, answers) == 0.5


def test_mp3_has_the_bit_rate_that_it_says() -> None:
    stereo = 0.1 * np.random.default_rng(0).standard_normal((2, 44100 * 10)).astype(np.float32)
    assert len(corpus.mp3(stereo, 44100)) == pytest.approx(128_000 / 8 * 10, rel=0.02)
