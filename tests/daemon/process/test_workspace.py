"""A workspace is a directory that can be entered, by its true name, or an error that names it."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import trio

from helpers.children import ENV
from roost.daemon.process.workspace import canonical
from roost.daemon.waiting.patience import Patience
from roost.protocol.errors import WorkspaceInvalid


async def look(path: Path | str) -> str:
    return await canonical(str(path), files=Patience(), deadline=10)


async def refused(path: Path | str) -> str:
    """The reason for which ``path`` is refused."""
    with pytest.raises(WorkspaceInvalid) as caught:
        await look(path)
    assert caught.value.data["workspace"] in caught.value.message
    caught.value.message.encode()
    return str(caught.value.data["reason"])


async def test_links_and_dots_are_resolved(tmp_path: Path) -> None:
    """It exists, is a folder, and is canonical."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert await look(tmp_path / "link" / ".." / "link" / ".") == str(tmp_path / "real")


async def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert await refused(tmp_path / "missing") == "No such file or directory"
    assert await refused(tmp_path / "file") == "it is not a directory"
    assert await refused(tmp_path / "file" / "below") == "Not a directory"
    assert await refused(tmp_path / "loop") == "Too many levels of symbolic links"


async def test_what_is_no_path() -> None:
    for path in ("", ".", "here", "~"):
        assert await refused(path) == "it is not absolute"
    assert "null byte" in await refused("/tmp\0")


async def test_what_is_not_utf8(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd-\xff")
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    assert await refused(odd) == "it is not UTF-8"
    assert await refused(tmp_path / "link") == "it is not UTF-8"


def test_what_may_not_be_entered() -> None:
    """In a process of another user, since root may enter anything."""
    code = (
        "import os, sys\n"
        "from roost.daemon.process.workspace import _canonical\n"
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "_canonical(sys.argv[1])\n"
    )
    folder = tempfile.mkdtemp(dir="/tmp")
    try:
        os.chmod(folder, 0o600)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        ran = subprocess.run([sys.executable, "-c", code, folder], env=ENV, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder)
    assert "it may not be entered; name another directory" in ran.stderr, ran.stderr


async def test_file_system_that_does_not_answer_is_given_up() -> None:
    """A look that was given up before still hangs there: nobody else gets a thread for that."""
    files, hangs, answer = Patience(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        answer.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.call, "/tmp", hang, 10.0)
        assert await trio.to_thread.run_sync(hangs.wait, 10)
        nursery.cancel_scope.cancel()
    with trio.fail_after(10), pytest.raises(WorkspaceInvalid) as caught:
        await canonical("/tmp", files=files, deadline=0.02)
    answer.set()
    assert await canonical("/tmp", files=files, deadline=10) == "/tmp"
    assert "did not answer within 0.02 s" in caught.value.message
