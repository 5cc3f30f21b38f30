"""A command line of the worker `shell`, without the worker around it."""

import os
import signal

import pytest

from helpers.daemon import alive, wait_until
from roost.worker import command


def test_what_a_look_misses_of_a_cancelled_group_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork bomb's processes come and go while /proc is read; one that was missed fills the cgroup again."""
    monkeypatch.setattr(command, "processes", lambda: iter(()))
    cancel = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    told = b""

    def write(data: bytes) -> None:
        nonlocal told
        told += data
        if told.endswith(b"\n"):
            os.eventfd_write(cancel, 1)

    line = """sh -c 'trap "" TERM; echo $$; exec sleep 1000' & wait"""
    running = command.Command(["sh", "-c", line], dict(os.environb), cancel)
    try:
        assert running.run(write) == 128 + 15
        wait_until(lambda: not alive(int(told)), "what ignores SIGTERM has ended")
    finally:
        os.close(cancel)
        if told and alive(int(told)):
            os.kill(int(told), signal.SIGKILL)
