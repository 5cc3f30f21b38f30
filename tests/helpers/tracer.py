"""A debugger that holds what it traces: when that is killed, the kernel does not show its end to its parent."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

TRACEABLE = "import ctypes; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))\n"
"""Code of a child that lets anybody trace it (PR_SET_PTRACER), where Yama asks for that."""

_SEIZE = """
import ctypes, select, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
libc.ptrace.restype = ctypes.c_long
if libc.ptrace(0x4206, int(sys.argv[1]), 0, 0):
    sys.exit(f"ptrace: errno {ctypes.get_errno()}")
print("holds it", flush=True)
select.select([sys.stdin], [], [], 60)
"""
"""It never waits for what it traces, and has a limit of its own: a test whose loop stands still fails, and ends."""


@contextmanager
def held(pid: int) -> Generator[None]:
    """Within it, a debugger of its own traces ``pid`` (PTRACE_SEIZE), and does not let it go."""
    command = [sys.executable, "-S", "-E", "-c", _SEIZE, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tracer:
        assert tracer.stdin and tracer.stdout and tracer.stderr
        if tracer.stdout.readline() != b"holds it\n":
            pytest.skip(f"no process may be traced here: {tracer.stderr.read().decode()}")
        try:
            yield
        finally:
            tracer.kill()
