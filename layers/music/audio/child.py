"""The process that decodes: ``python -m music.audio.child REQUEST``, started by `music.audio.isolated`.

It writes messages to its standard output: the length of a JSON head in four bytes, the head, and the samples
that the head announces. The last head has an ``error`` or is ``end``. Where the kernel leaves the process the
network, the first head says why, as ``unconfined``.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import threading
from typing import Any

from music.audio import AudioError, confine

# What an FFmpeg filter graph starts one thread per processor for is address space, not memory.
_STACK_BYTES = 8 << 20


def main() -> None:
    """Decode what the request in the first argument asks for, and write messages as the module describes."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    limit(request["memory"] + _STACK_BYTES * (os.cpu_count() or 1) * len(request["rates"]), request["cpu"])
    unconfined = None
    try:
        confine.drop_network()
    except OSError as error:
        unconfined = str(error)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What a library prints must not get between the messages.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(head: dict[str, Any], samples: memoryview | bytes = b"") -> None:
        text = json.dumps(head).encode()
        output.write(struct.pack("<I", len(text)) + text)
        output.write(samples)
        output.flush()

    if unconfined:
        send({"unconfined": unconfined})

    from music.audio import reader  # only now: its import is limited too

    try:
        if not request["rates"]:
            rate, channels, bits = reader.probe(request["path"])
            send({"rate": rate, "channels": channels, "bits": bits})
            return
        for frame, positions, layout in reader.read(request["path"], request["rates"]):
            if frame.samples:
                samples = memoryview(frame.planes[0])[: 4 * frame.samples * len(positions)]
                head = {"rate": frame.sample_rate, "positions": positions, "layout": layout}
                send({**head, "n": frame.samples}, samples)
        send({"end": True})
    except AudioError as error:
        send({"error": [error.code, error.detail]})
    except MemoryError:
        send({"error": ["too_complex", "decoding the file takes more memory than we give it"]})


def limit(memory: int, cpu: int) -> None:
    """Limit this process.

    Files are limited to 64 kB, which is enough for messages, and none is written when it crashes.

    Parameters
    ----------
    memory : int
        Bytes of address space.
    cpu : int
        Seconds of processor time.
    """
    if sys.platform == "linux":  # macOS knows no limit of address space that a process could live with
        _lower(resource.RLIMIT_AS, memory, memory)
    _lower(resource.RLIMIT_CPU, cpu, cpu + 1)
    _lower(resource.RLIMIT_FSIZE, 1 << 16, 1 << 16)
    _lower(resource.RLIMIT_CORE, 0, 0)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Set a limit; the machine's own stays where that is lower, since the kernel raises none."""
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def _end_with_parent() -> None:
    """End when the other end of standard input is closed, which happens however the parent ends."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
