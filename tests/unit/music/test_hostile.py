"""Bad input: every file ends as sound or with a code, in bounded memory, and nothing else happens.

`tests.benchmarks.bench_hostile` does the same with ten thousand files.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from music.audio import AudioError, sniff
from music.audio.decode import decode
from tests.support import hostile, memory
from tests.support.stack import Stack, s3_event

BYTES = 1_500_000_000
CASES = hostile.cases()


def decoded(path: Path) -> str:
    """What becomes of a file: ``ready``, or the code with which it is refused."""
    try:
        audio = decode(path, rate=22050, channels=2)
        assert np.isfinite(audio).all()
        found = "ready"
    except AudioError as error:
        found = error.code
    assert memory.peak() < BYTES
    assert 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < BYTES
    return found


@pytest.fixture(scope="module")
def outcome() -> Iterator[Callable[[Path], str]]:
    """`decoded` in a process that does nothing else, so that the memory of other tests is not counted."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield lambda path: process.submit(decoded, path).result()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return hostile.clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("name", CASES)
def test_a_file_made_to_a_purpose(
    name: str, clips: dict[str, bytes], tmp_path: Path, outcome: Callable[[Path], str]
) -> None:
    (tmp_path / "x").write_bytes(CASES[name].make(clips, tmp_path / "scratch"))
    assert outcome(tmp_path / "x") in CASES[name].outcomes


@pytest.mark.parametrize("name", hostile.FORMATS)
def test_damaged_files_decode_or_are_refused(
    name: str, clips: dict[str, bytes], tmp_path: Path, outcome: Callable[[Path], str]
) -> None:
    for seed in range(9):
        (tmp_path / "x").write_bytes(hostile.mutate(clips[name], seed))
        outcome(tmp_path / "x")


@pytest.mark.parametrize("name", hostile.FORMATS)
def test_damaged_uploads_end_ready_or_failed(name: str, clips: dict[str, bytes], stack: Stack) -> None:
    app: Any = stack.app("embed")
    for seed in (100, 101):
        body = hostile.mutate(clips[name], seed)
        audio = stack.audio()
        stack.upload(audio, body)
        assert stack.deliver(app, s3_event(f"uploads/{audio.tenant}/{audio.id}")) == []
        current = stack.get_audio(audio)
        if current.status == "ready":
            assert stack.vectors()
        else:
            assert (current.status, bool(current.error)) == ("failed", True)
            assert (current.error or {})["code"] in AudioError.CODES


def test_a_renamed_archive_fails_its_record(stack: Stack) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("song.mp3", "la la la")
    app: Any = stack.app("embed")
    audio = stack.audio()
    stack.upload(audio, zipped.getvalue())
    assert stack.deliver(app, s3_event(f"uploads/{audio.tenant}/{audio.id}")) == []
    current = stack.get_audio(audio)
    assert current.status == "failed"
    assert current.error == {"code": "not_audio", "detail": "the file is an archive, whatever its name says"}
    assert stack.vectors() == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wav-s16", "audio/wav"), ("aiff-s16", "audio/aiff"), ("flac", "audio/flac"),
        ("ogg-opus", "audio/ogg"), ("ogg-vorbis", "audio/ogg"), ("m4a-aac", "audio/mp4"),
        ("m4a-alac", "audio/mp4"), ("adts-aac", "audio/aac"),
        ("mp3", "audio/mpeg"),  # behind its tag
    ],
)  # fmt: skip
def test_the_type_of_a_file_is_what_it_is(
    name: str, kind: str, clips: dict[str, bytes], stack: Stack
) -> None:
    app: Any = stack.app("embed")
    audio = stack.audio()
    assert audio.content_type == "audio/wav"
    stack.upload(audio, clips[name])
    assert stack.deliver(app, s3_event(f"uploads/{audio.tenant}/{audio.id}")) == []
    current = stack.get_audio(audio)
    assert (current.status, current.content_type) == ("ready", kind)


@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04", b"%PDF-1.7", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"GIF89a",
        b"\x1f\x8b\x08", b"Rar!\x1a\x07",
        b"7z\xbc\xaf\x27\x1c", b"\x7fELF", b"MZ\x90\0", b"RIFF\0\0\0\0AVI LIST",
        b"MThd\0\0\0\x06",
        b"<!DOCTYPE html>", b"\xef\xbb\xbf\n<HTML>", b"  <svg xmlns=", b"#!/bin/sh",
    ],
)  # fmt: skip
def test_what_begins_as_something_else_is_that(head: bytes, clips: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(head + bytes(100) + clips["mp3"])
    with pytest.raises(AudioError) as refused:
        sniff.content_type(tmp_path / "x")
    assert refused.value.code == "not_audio"


@pytest.mark.parametrize("head", [b"\xff\xfb\x90\x64", b"\xff\xf3\x40\xc0", b"\xff\xe3\x18\xc4"])
def test_mp3_without_a_tag_is_known(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(head + bytes(100))
    assert sniff.content_type(tmp_path / "x") == "audio/mpeg"
