"""The server of a file system that hangs when told so, by /dev/fuse itself; see :mod:`helpers.fuse`.

Words on stdin: ``deaf``, ``well``, ``count``; each is answered with the number of requests that wait.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from contextlib import suppress

DEVICE = "/dev/fuse"
MNT_DETACH = 2
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42
"""What is asked for no answer."""
PARALLEL_LOOKUPS = 1 << 18
ROOT, DATA, PROGRAM = 1, 2, 3
FILES = {
    ROOT: (stat.S_IFDIR | 0o755, b""),
    DATA: (stat.S_IFREG | 0o644, b"data\n"),
    PROGRAM: (stat.S_IFREG | 0o755, b"#!/bin/sh\nread line\n"),
}
NAMES = {b"data": DATA, b"program": PROGRAM}


def libc(name: str, *args: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _attributes(node: int) -> bytes:
    mode, content = FILES[node]
    return struct.pack("<6Q10I", node, len(content), 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes) -> bytes | int:
    """The body of the answer, or an error number. Nothing of it may be remembered by the kernel."""
    match opcode:
        case 26:  # INIT
            return struct.pack("<4I2H2I2H8I", 7, 31, 0, PARALLEL_LOOKUPS, 16, 12, 65536, 1, 16, 0, *[0] * 8)
        case 1:  # LOOKUP
            found = NAMES.get(body.rstrip(b"\0"))
            return errno.ENOENT if found is None else struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + _attributes(found)
        case 3:  # GETATTR
            return struct.pack("<Q2I", 0, 0, 0) + _attributes(node)
        case 14 | 27:  # OPEN, OPENDIR
            return struct.pack("<Q2I", 0, 0, 0)
        case 15:  # READ
            _, offset, size = struct.unpack("<QQI", body[:20])
            return FILES[node][1][offset : offset + size]
        case 28 | 18 | 29 | 25:  # READDIR of nothing, RELEASE, RELEASEDIR, FLUSH
            return b""
        case 17:  # STATFS
            return struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        case _:
            return errno.ENOSYS


def _reply(device: int, unique: int, answer: bytes | int) -> None:
    body, code = (answer, 0) if isinstance(answer, bytes) else (b"", -answer)
    with suppress(FileNotFoundError):  # who asked has gone meanwhile
        os.write(device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)


def _taken(device: int) -> tuple[int, bytes | int] | None:
    """The next request's number, and what would be answered; None: it wants no answer."""
    request = os.read(device, 1 << 20)
    _, opcode, unique, node = struct.unpack("<IIQQ", request[:24])
    return None if opcode in (FORGET, BATCH_FORGET, INTERRUPT) else (unique, _answer(opcode, node, request[40:]))


def _serve(mountpoint: str) -> None:
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc("mount", b"hanging", os.fsencode(mountpoint), b"fuse", 6, options.encode())
    # Before the first answer, which is to INIT, who asks for something can still be killed.
    first = _taken(device)
    assert first
    _reply(device, *first)
    print("mounted", flush=True)
    deaf, kept = False, list[tuple[int, bytes | int]]()
    while True:
        ready, _, _ = select.select([0, device], [], [])
        if 0 in ready:
            word = os.read(0, 100).decode().strip()
            if not word:  # the test has ended without a word
                return libc("umount2", os.fsencode(mountpoint), MNT_DETACH)
            deaf = word == "deaf" or (deaf and word != "well")
            for unique, answer in () if deaf else kept:
                _reply(device, unique, answer)
            kept = kept if deaf else []
            print(len(kept), flush=True)
        if device in ready and (taken := _taken(device)):
            if deaf:
                kept.append(taken)
            else:
                _reply(device, *taken)


if __name__ == "__main__":
    try:
        _serve(sys.argv[1])
    except PermissionError:
        print("refused", flush=True)
