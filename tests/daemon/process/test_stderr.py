"""What is kept of stderr: offsets that outlive rotation and daemons, in bounds, and a disk that harms nobody."""

import os
import resource
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from helpers.children import descriptors, start, until
from roost.daemon.process import proc, stderr
from roost.daemon.process.inlet import Inlet
from roost.daemon.process.stderr import StderrFiles
from roost.daemon.process.tail import Tail
from roost.daemon.process.watch import Watch
from roost.protocol.errors import StorageFailed, TimedOut
from roost.protocol.methods import SessionStderrResult

LIMIT = 65_536


async def whole(files: StderrFiles, session: str = "s-1", offset: int = 0, limit: int = LIMIT) -> bytes:
    """All that is kept from ``offset`` on, a page at a time."""
    text = b""
    while (page := await files.read(session, offset, limit)).data:
        text, offset = text + page.data, page.next
    return text


async def test_a_daemon_goes_on_where_the_one_before_it_ended(tmp_path: Path) -> None:
    for piece, end in ((b"one\n", 4), (b"two\n", 8), (b"three\n", 14)):
        await StderrFiles(tmp_path / "stderr").keeper("s-1")(piece)
        assert (await StderrFiles(tmp_path / "stderr").read("s-1", None, LIMIT)).bytes == end
    files = StderrFiles(tmp_path / "stderr")
    assert await whole(files) == b"one\ntwo\nthree\n"
    assert await files.read("s-1", 4, 4) == SessionStderrResult(data=b"two\n", offset=4, next=8, bytes=14)
    assert await files.read("s-1", None, 6) == SessionStderrResult(data=b"three\n", offset=8, next=14, bytes=14)
    assert await files.read("s-1", 99, 6) == SessionStderrResult(data=b"", offset=14, next=14, bytes=14)
    (tmp_path / "stderr" / "s-1" / "notes.txt").write_text("of somebody else")
    assert (await files.read("s-1", 0, LIMIT)).bytes == 14
    assert await files.read("s-2", 5, 6) == SessionStderrResult(data=b"", offset=0, next=0, bytes=0)


async def test_older_output_goes_and_the_offset_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "FILE_BYTES", 100)
    files = StderrFiles(tmp_path)
    children = [files.keeper("s-1") for _ in range(20)]
    written, kept = "", list[Path]()
    for number in range(200):
        await children[number // 10](f"line {number}\n".encode())
        written += f"line {number}\n"
        kept = sorted((tmp_path / "s-1").iterdir())
        assert len(kept) <= 2 and sum(file.stat().st_size for file in kept) <= 2 * (100 + 10)
    page = await files.read("s-1", 0, LIMIT)
    assert page.bytes == len(written) and page.offset > 0 and page.data.decode() == written[page.offset :]
    assert len(page.data) >= 100
    assert int(kept[0].stem) == page.offset
    assert (await files.read("s-1", page.offset + 3, 10)).data.decode() == written[page.offset + 3 :][:10]


async def test_files_taken_away_are_a_gap_and_no_offset_is_used_twice(tmp_path: Path) -> None:
    files = StderrFiles(tmp_path / "stderr")
    keep = files.keeper("s-1")
    await keep(b"before\n")
    shutil.rmtree(tmp_path / "stderr")
    await keep(b"after\n")
    assert await files.read("s-1", 0, LIMIT) == SessionStderrResult(data=b"after\n", offset=7, next=13, bytes=13)
    os.truncate(next((tmp_path / "stderr" / "s-1").iterdir()), 2)
    await keep(b"gap\n")
    page = await files.read("s-1", 0, LIMIT)
    assert (page.data, page.offset, page.next) == (b"af", 7, 9), "up to the gap, which the next page jumps over"
    assert await files.read("s-1", 9, LIMIT) == SessionStderrResult(data=b"gap\n", offset=13, next=17, bytes=17)


async def test_only_its_owner_may_look(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await StderrFiles(tmp_path / "stderr").keeper("s-1")(b"secret")
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "stderr").rglob("*")}
    assert modes == {"s-1": 0o700, "000000000000000.log": 0o600}
    assert stat.S_IMODE((tmp_path / "stderr").stat().st_mode) == 0o700


async def test_no_descriptor_is_open_while_nothing_is_written(tmp_path: Path) -> None:
    files = StderrFiles(tmp_path)
    before = descriptors()
    keepers = [files.keeper(f"s-{number}") for number in range(20)]
    for keep in keepers:
        await keep(b"x")
    await files.read("s-1", None, 10)
    assert descriptors() == before


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9))
async def test_pages_of_any_size_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, limit: int
) -> None:
    files = StderrFiles(tmp_path_factory.mktemp("stderr"))
    await files.keeper("s-1")(data)
    assert await whole(files, limit=limit) == data


async def test_a_file_that_goes_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = StderrFiles(tmp_path)
    await files.keeper("s-1")(b"old")
    listed = stderr._files  # pyright: ignore[reportPrivateUsage]

    def rotated(directory: Path) -> list[object]:
        """As it was read a moment before the rotation."""
        found = listed(directory)
        if found and found[0].start == 0:
            found[0].path.rename(directory / "000000000000003.log")
        return list(found)

    monkeypatch.setattr(stderr, "_files", rotated)
    assert await files.read("s-1", 0, LIMIT) == SessionStderrResult(data=b"old", offset=3, next=6, bytes=6)


@contextmanager
def no_file_over(size: int) -> Generator[None]:
    """Whoever of this process writes beyond gets an error, as from a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_full_disk_costs_a_child_its_files_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = StderrFiles(tmp_path)
    tail = Tail(files.keeper("s-1"))
    with no_file_over(10):
        for number in range(5):
            await tail.take(f"line {number}\n".encode())
    assert tail.text().splitlines() == [f"line {number}" for number in range(5)]
    [said] = [record.getMessage() for record in caplog.records]
    assert "session s-1" in said and str(tmp_path / "s-1") in said and "File too large" in said
    await files.keeper("s-1")(b" and the next child")
    assert await whole(files) == b"line 0\nlin and the next child"


async def test_a_directory_that_cannot_be_made_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    keep = StderrFiles(Path("/proc/self/nowhere")).keeper("s-1")
    await keep(b"one")
    await keep(b"two")
    [said] = [record.getMessage() for record in caplog.records]
    assert "/proc/self/nowhere/s-1" in said


async def test_a_disk_that_hangs_is_given_up_and_the_next_child_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is a pipe that nobody reads: opening it hangs for ever, as on a dead mount."""
    files = StderrFiles(tmp_path)
    (tmp_path / "s-1").mkdir()
    pipe = tmp_path / "s-1" / "000000000000000.log"
    os.mkfifo(pipe)
    keep = files.keeper("s-1")
    with trio.fail_after(20):
        with monkeypatch.context() as hurried:
            hurried.setattr(stderr, "WRITING", 0.05)
            for _ in range(100):
                await keep(b"x")
        assert len(caplog.records) == 1 and "within 0.05 s" in caplog.text
        await files.keeper("s-2")(b"another session's")
        assert await whole(files, "s-2") == b"another session's"
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # the thread that was left behind ends
        pipe.unlink()
        await files.keeper("s-1")(b"the next child's")
    assert await whole(files) == b"the next child's"


async def test_what_cannot_be_read_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = StderrFiles(tmp_path)
    (tmp_path / "s-1").write_text("no directory")
    with pytest.raises(StorageFailed, match=r"session s-1 .*Not a directory.*look at"):
        await files.read("s-1", 0, 10)
    monkeypatch.setattr(stderr, "READING", 0.05)
    (tmp_path / "s-2").mkdir()
    os.mkfifo(tmp_path / "s-2" / "0.log")
    monkeypatch.setattr(stderr, "_files", lambda directory: [stderr._File(directory / "0.log", 0, 9)])  # pyright: ignore
    with pytest.raises(TimedOut, match=r"session s-2 .*within 0.05 s"):
        await files.read("s-2", 0, 10)
    os.close(os.open(tmp_path / "s-2" / "0.log", os.O_WRONLY | os.O_NONBLOCK))


async def test_what_cannot_be_removed_is_said_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = StderrFiles(tmp_path)
    assert await files.sessions() == [] and await StderrFiles(tmp_path / "none").sessions() == []
    await files.keeper("s-1")(b"x")
    (tmp_path / "not-a-session").touch()
    (tmp_path / "s-2").touch()
    assert sorted(await files.sessions()) == ["s-1", "s-2"]
    for session in ("s-1", "s-2", "s-3"):
        await files.remove(session)
    assert await files.sessions() == ["s-2"] and "s-2: Not a directory" in caplog.text


async def test_a_child_that_writes_faster_than_it_is_kept_waits_for_its_own_pipe() -> None:
    """Nothing of what it cannot write yet is in the daemon's memory."""
    gate, kept = trio.Event(), 0

    async def keep(piece: bytes) -> None:
        nonlocal kept
        await gate.wait()
        kept += len(piece)

    flood = "import os\nfor _ in range(1000): os.write(2, b'x' * 4096)"
    async with await start(flood) as child, trio.open_nursery() as nursery:
        with Inlet(child.descriptors[2], Watch(), nursery.start_soon, Tail(keep).take) as inlet:
            await until(lambda: written(child.pid) >= 65_536 and sleeping(child.pid))
            assert written(child.pid) <= 3 * 65_536, "what a pipe holds, and what was taken out of it"
            gate.set()
            await inlet.wait_ended()
        assert await child.wait() == 0
    assert kept == 4_096_000


def written(pid: int) -> int:
    """Bytes that a process has written so far."""
    return int(Path(f"/proc/{pid}/io").read_text().partition("wchar: ")[2].split()[0])


def sleeping(pid: int) -> bool:
    found = proc.stat(pid)
    return found is not None and found.state == "S"
