"""What the decoding process may not do, by the Linux kernel: read its parent, and talk to the network.

A decoder that a file takes over has the rights of the user that the worker also runs as. Of what that user
owns, the worker's environment is worth most: it holds credentials, and `/proc/PID/environ` would give it out.

See Also
--------
man 2 prctl (PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS), man 2 seccomp
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF
_X32 = 0x40000000  # from here on, the numbers of another ABI of x86_64

_CALLS = {"x86_64": (0xC000003E, (41, 425)), "aarch64": (0xC00000B7, (198, 425))}
"""Of a machine: its AUDIT_ARCH, and the numbers of `socket` and `io_uring_setup`, which makes sockets too."""


def hide() -> None:
    """Hide this process's memory and environment from other processes of the same user.

    It leaves no core dump then, either. A process that runs another program is open again. Elsewhere than on
    Linux nothing is done, and nothing has to be: there is no `/proc`.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def drop_network() -> None:
    """Let this thread, and those that it starts, make no socket any more: it fails with EACCES.

    Raises
    ------
    OSError
        The kernel does not let us, or is not one that this module knows.
    """
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        raise OSError(errno.ENOSYS, f"no filter for {sys.platform} on {platform.machine()}")
    architecture, calls = _CALLS[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ERROR | errno.EACCES),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_JUMP_IF_AT_LEAST, len(calls) + 1, 0, _X32),
        *((_JUMP_IF_EQUAL, len(calls) - i, 0, call) for i, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.EACCES),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filter_ = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)  # without privileges the kernel asks for that first
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_))


def _prctl(option: int, *values: int) -> None:
    four = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *four):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")
