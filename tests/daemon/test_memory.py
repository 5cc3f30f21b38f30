"""Threads share one heap: each with its own would keep most of it empty."""

import platform
import subprocess
import sys

import pytest

THREADS = """
import ctypes, threading
from roost.daemon.memory import save_memory
{call}
inside = threading.Barrier(5)
def work():
    held = [bytearray(1000) for _ in range(100)]
    inside.wait()
for _ in range(4): threading.Thread(target=work).start()
inside.wait()
ctypes.CDLL(None).malloc_stats()
"""


def heaps(call: str) -> int:
    command = [sys.executable, "-P", "-c", THREADS.format(call=call)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr.count("Arena ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such heaps")
def test_threads_share_one_heap() -> None:
    assert heaps("save_memory()") == 1 < heaps("")
