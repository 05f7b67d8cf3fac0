"""Drive the generated Python client, which lies in the folder `made`: `python drive.py URL TRACK`."""

from __future__ import annotations

import importlib
import io
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

PACKAGE = "music_generation_backend_client"


def main(url: str, track: Path) -> None:
    """Import all of it; upload, embed, generate and download."""
    sys.path.insert(0, str(Path.cwd() / "made"))
    package = importlib.import_module(PACKAGE)
    modules: dict[str, Any] = {
        module.name.removeprefix(f"{PACKAGE}."): importlib.import_module(module.name)
        for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")
    }
    models, types = modules["models"], modules["types"]
    client = package.Client(base_url=url, timeout=60)

    file = types.File(payload=io.BytesIO(track.read_bytes()), file_name="söng.mp3", mime_type="audio/mpeg")
    uploaded = modules["api.audio.upload"].sync(
        client=client, body=models.UploadFilesBody(file=file), idempotency_key="one"
    )
    assert isinstance(uploaded, models.Uploaded), uploaded
    announced = modules["api.audio.upload"].sync(
        client=client, body=models.UploadJsonDirectUploadRequest(filename="a.mp3", bytes_=1000)
    )
    assert isinstance(announced, models.AwaitingUpload), announced
    content = modules["api.audio.get_audio_content"].sync(uploaded.audio_id, client=client)
    assert content.payload.read() == track.read_bytes()

    while isinstance(
        embedding := modules["api.embedding.get_embedding"].sync(uploaded.audio_id, client=client),
        models.PendingEmbedding,
    ):
        time.sleep(0.5)
    assert len(embedding.embedding) == 512
    assert embedding.features.tempo > 0

    submitted = modules["api.generation.generate"].sync(
        uploaded.audio_id, client=client, body=models.GenerateRequest(duration=2, candidates=2, seed=7)
    )
    while (
        record := modules["api.generation.get_generation"].sync(
            submitted.generation_id, client=client, wait=20
        )
    ).status in {"waiting", "queued", "running"}:
        time.sleep(0.5)
    assert record.status == "succeeded", record
    assert (record.parameters.duration, record.parameters.seed) == (2, 7)
    assert len(record.candidates) == 2
    assert 0 <= record.candidates[0].similarity.embedding <= 1
    assert record.loudness.true_peak < 0
    music = modules["api.generation.download"].sync(submitted.generation_id, client=client)
    assert music.payload.read(4) == b"RIFF"
    missing = modules["api.audio.get_audio"].sync("0" * 26, client=client)
    assert (missing.status, missing.code) == (404, "not_found")
    print(f"{len(modules)} modules, all imported; a track went in and music came out")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
