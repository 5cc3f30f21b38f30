"""The settings that hold now: what a reload changes, what waits for a restart, and what changes nothing."""

import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from roost.daemon import current
from roost.daemon.current import Current
from roost.daemon.settings import EngineSettings, Settings, load
from roost.protocol.errors import InvalidSettings

PLACE = 'daemon.state_directory = "/state"\ndaemon.socket = "/socket"\n'


class File:
    """A file of settings, and what holds of it."""

    def __init__(self, tmp_path: Path, text: str = "") -> None:
        self.path = tmp_path / "roost.toml"
        self.write(text)
        self.current = Current(self.read(), self.read)

    def write(self, text: str) -> None:
        self.path.write_text(text if "socket" in text else PLACE + text)

    def read(self) -> Settings:
        return load({"ROOST_CONFIG": str(self.path), "HOME": "/home"})


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("limits.max_live = 3", "limits.max_live", 3),
        ("sessions.idle_unload = '1s'", "sessions.idle_unload", 1.0),
        ("checkpoints.batch = 7", "checkpoints.batch", 7),
        ("retention.max_age = '7d'", "retention.max_age", 604_800.0),
        ("daemon.log_level = 'debug'", "daemon.log_level", "debug"),
        ("daemon.stop_deadline = 60", "daemon.stop_deadline", 60.0),
        ("engines.new.command = ['x']", "engines.new", EngineSettings(command=("x",))),
    ],
)
async def test_a_change_holds_and_is_named(file: File, line: str, name: str, value: object) -> None:
    before = file.current.now
    file.write(line)
    assert (await file.current.reload()).to_wire() == {"changed": [name], "restart": []}
    section, _, key = name.partition(".")
    assert dict(getattr(file.current, section))[key] == value
    assert file.current.now is not before, "what is frozen stays as it was"
    file.write("")
    assert (await file.current.reload()).changed == [name]
    assert file.current.now == before


async def test_what_needs_a_restart_is_named_until_it_is_taken_back_and_does_not_hold(file: File) -> None:
    before = file.current.now
    file.write('daemon.state_directory = "/other"\ndaemon.socket = "/elsewhere"\ndaemon.allowed_uids = [7]\n')
    for _ in range(2):
        result = await file.current.reload()
        assert result.changed == []
        assert result.restart == ["daemon.allowed_uids", "daemon.socket", "daemon.state_directory"]
        assert file.current.now == before
    file.write("")
    assert (await file.current.reload()).restart == []


async def test_what_is_wrong_changes_nothing_at_all(file: File) -> None:
    before = file.current.now
    file.write("limits.max_live = 3\nlimits.queue = -1\n")
    with pytest.raises(InvalidSettings) as refused:
        await file.current.reload()
    assert refused.value.data == {"key": "limits.queue", "file": str(file.path), "line": 4}
    assert file.current.now is before


async def test_a_file_system_that_hangs_is_told_and_the_next_reload_works(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "READING", 0.05)
    answers = threading.Event()

    def hangs() -> Settings:
        answers.wait(20)
        return file.read()

    slow = Current(file.current.now, hangs)
    for _ in range(2):
        with pytest.raises(InvalidSettings) as refused:
            await slow.reload()
        assert refused.value.data == {"reason": "timed_out"}
    answers.set()
    monkeypatch.setattr(current, "READING", 20.0)
    assert (await slow.reload()).changed == []


async def test_whoever_waits_for_a_change_is_told_of_each(file: File, nursery: trio.Nursery) -> None:
    for max_live in (1, 2):
        told = trio.Event()

        async def wait(told: trio.Event = told) -> None:
            await file.current.wait_changed()
            told.set()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not told.is_set()
        file.write(f"limits.max_live = {max_live}\n")
        await file.current.reload()
        with trio.fail_after(10):
            await told.wait()
