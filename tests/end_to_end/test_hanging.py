"""What hangs in the kernel, and what ignores what it is sent, stops its own session only: said, never hung on."""

import json
import os
import shlex
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from helpers import impatient
from helpers.children import WAITS, python
from helpers.daemon import Daemon, alive, pids_with, wait_until
from helpers.engines import engines
from helpers.fuse import Hanging, hanging
from helpers.tracer import TRACEABLE, held
from roost.daemon.process.processes import AT_ONCE
from roost.protocol.errors import ProcessesLeft, RoostError, WorkspaceInvalid

OPENING = Path(__file__).parents[1] / "helpers" / "workers" / "opening.py"
PATIENT = 20.0
"""Seconds for what takes two when nobody else uses the machine: far less than for ever."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the settings name what may hang: ``mount`` and ``secret``."""
    return tmp_path_factory.mktemp("hanging")


@pytest.fixture(scope="module")
def one_daemon(folder: Path) -> Iterator[Daemon]:
    opening = f"[engines.opening]\nkind = 'worker'\ncommand = {json.dumps([sys.executable, str(OPENING)])}\n"
    reading = f"[engines.mounted]\nkind = 'command'\ncommand = ['{folder}/mount/program']\nprompt = 'stdin'\n"
    secret = f"[engines.secret]\nkind = 'command'\ncommand = ['true']\nenv_from = {{ KEY = 'file:{folder}/secret' }}\n"
    daemon = Daemon(folder / "s", "\n".join([engines(impatient.SETTINGS), opening, reading, secret]))
    try:
        yield daemon.start(*impatient.COMMAND)
        assert daemon.stop() == 0, "it stops in order after all that"
    finally:
        daemon.close()


@pytest.fixture
def patient(shared: Daemon) -> Daemon:
    """Whoever stops it starts it again."""
    return shared


@pytest.fixture
def dead(folder: Path, patient: Daemon) -> Generator[Hanging]:
    """A mount that hangs when told so; it is well before the sessions of the test are deleted."""
    with hanging(folder / "mount") as file_system:
        yield file_system
    (folder / "mount").rmdir()


def left(daemon: Daemon, session: str) -> list[list[int]]:
    """The pids of each event that says that processes of the session do not end."""
    return [event["data"]["pids"] for event in daemon.events(session) if event["kind"] == "session.processes_left"]


def idle(daemon: Daemon, session: str) -> bool:
    return bool(daemon.session(session)["state"] == "idle")


def forked(session: str, count: int) -> bool:
    """It has that many processes."""
    return len(pids_with(f"ROOST_SESSION={session}")) >= count


def refused(daemon: Daemon, session: str) -> list[int]:
    """Stop it; the pids that the refusal names."""
    with pytest.raises(ProcessesLeft) as caught:
        daemon.call("session.stop", session=session)
    return list(caught.value.data["pids"])


def hung(dead: Hanging, daemon: Daemon, **prompts: str) -> dict[str, str]:
    """Sessions by engine whose turn hangs in the kernel, with a prompt queued behind it."""
    sessions = {engine: daemon.create(engine) for engine in prompts}
    for engine in sessions.keys() - {"sh", "opening"}:
        daemon.run(sessions[engine], "true")
    dead.deaf()
    for engine, prompt in prompts.items():
        daemon.send(sessions[engine], prompt)
    wait_until(lambda: dead.asked() == len(prompts), "each waits for the file system")
    return sessions


def test_what_hangs_in_the_kernel_is_said_and_ends_when_it_can(dead: Hanging, patient: Daemon) -> None:
    """A worker, what a worker runs, and a command, none of which any signal ends."""
    sessions = hung(
        dead, patient, shell=f"cat {dead.path}/one", sh=f"exec cat {dead.path}/two", opening=f"{dead.path}/three"
    )
    queued = {session: patient.send(session, "behind") for session in sessions.values()}
    with ThreadPoolExecutor() as stops:
        named = dict(zip(sessions.values(), stops.map(partial(refused, patient), sessions.values()), strict=True))
    states = {engine: patient.session(session)["state"] for engine, session in sessions.items()}
    assert states == {"shell": "stopping", "sh": "busy", "opening": "stopping"}
    assert refused(patient, sessions["shell"]) == named[sessions["shell"]], "asked again it says so again"
    assert all(len(pids) == 1 and alive(pids[0]) for pids in named.values())
    assert patient.run(patient.create(), "echo hello")["state"] == "completed", "others go on"

    dead.well()
    for session, turn in queued.items():
        wait_until(partial(idle, patient, session), "it ends by itself")
        assert left(patient, session) == [named[session]], "said once, with the pids"
        assert patient.session(session)["queued"] == 1, "nothing queued is lost"
        patient.call("session.release", session=session)
        assert patient.wait(turn)["state"] in ("completed", "failed")


@pytest.mark.parametrize("force", [None, False, True], ids=["unasked", "stop", "force"])
def test_a_command_session_goes_on_when_what_hung_in_its_turn_has_ended(
    dead: Hanging, patient: Daemon, force: bool | None
) -> None:
    """Its turn left something that no signal ends: that turn waits for it, the next ones only as long."""
    session = patient.create("sh", after={"failed": "continue", "cancelled": "continue"})
    dead.deaf()
    first = patient.send(session, f"cat {dead.path}/one & sleep 0.1")
    behind = patient.send(session, "echo behind")
    wait_until(lambda: left(patient, session), "it is said")
    if force is not None:
        with pytest.raises(ProcessesLeft):
            patient.call("session.stop", session=session, force=force)
    dead.well()
    assert patient.wait(first)["state"] == ("cancelled" if force else "completed")
    if force is not None:
        patient.call("session.release", session=session)
    assert patient.wait(behind)["state"] == "completed"
    for method in ("session.start", "session.stop"):
        patient.call(method, session=session)
    assert len(left(patient, session)) == 1


def test_the_daemon_stops_in_time_and_the_next_one_says_what_still_hangs(dead: Hanging, patient: Daemon) -> None:
    sessions = hung(
        dead, patient, shell=f"cat {dead.path}/one", sh=f"exec cat {dead.path}/two", opening=f"{dead.path}/three"
    )
    behind = patient.send(sessions["shell"], "echo behind")
    begun = time.monotonic()
    assert patient.stop() in (0, 9)
    assert time.monotonic() - begun < PATIENT
    hanging = pids_with(f"ROOST_DAEMON={patient.socket}")
    assert len(hanging) == 3
    patient.start(*impatient.COMMAND)
    assert {pid for session in sessions.values() for pid in left(patient, session)[-1]} == hanging
    lines = [line for line in patient.log.read_text().splitlines() if "dead roostd do not end although" in line]
    assert all(session in lines[-1] for session in sessions.values())
    for session in sessions.values():
        assert patient.session(session)["state"] == "stopping", "it is not idle while a known pid of it lives"
        for method in ("session.start", "session.stop"):
            with pytest.raises(ProcessesLeft):
                patient.call(method, session=session)
    patient.call("session.release", session=sessions["opening"])
    dead.well()
    wait_until(lambda: not any(map(alive, hanging)), "SIGKILL was waiting for them")
    for session in sessions.values():
        wait_until(lambda session=session: patient.session(session)["state"] != "stopping", "it ends by itself")  # type: ignore[misc]
    patient.call("session.release", session=sessions["shell"])
    assert patient.wait(behind)["state"] == "completed"
    said = left(patient, sessions["shell"])
    patient.stop()
    patient.start(*impatient.COMMAND)
    assert left(patient, sessions["shell"]) == said, "of what has ended nothing is said any more"


def test_a_workspace_on_a_dead_mount_stops_its_own_session_only(dead: Hanging, patient: Daemon) -> None:
    """Create, start, turn, delete: each answers in time; meanwhile the others work."""
    on_it = {"workspace": str(dead.path)}
    idle, gone, command = patient.create(**on_it), patient.create(**on_it), patient.create("sh", **on_it)
    mounted = [patient.create("mounted") for _ in range(AT_ONCE + 1)]
    other = patient.create()
    patient.run(other, "true")
    dead.stop()

    def told(method: str, **params: object) -> RoostError:
        with pytest.raises(RoostError) as caught:
            patient.call(method, **params)
        return caught.value

    with ThreadPoolExecutor(80) as asking:
        starting = [asking.submit(told, "session.create", engine="shell", **on_it) for _ in range(60)]
        starting.append(asking.submit(told, "session.start", session=idle))
        turns = [asking.submit(patient.run, session, "true") for session in (command, *mounted)]
        deleted = asking.submit(patient.call, "session.delete", session=gone)
        for _ in range(3):
            fresh = patient.create()
            assert patient.run(fresh, "echo hello")["state"] == "completed"
            assert patient.run(other, "echo hello")["state"] == "completed"
        assert {type(one.result(PATIENT)) for one in starting} == {WorkspaceInvalid}
        assert "did not answer within" in str(starting[0].result())
        states = [(one.result(PATIENT)["state"], one.result()["reason"]) for one in turns]
        assert states == [("failed", "workspace_invalid"), *[("failed", "timed_out")] * len(mounted)]
        deleted.result(PATIENT)
    begun = time.monotonic()
    assert patient.stop() == 0
    assert time.monotonic() - begun < PATIENT
    dead.abort()
    patient.start(*impatient.COMMAND)


def test_a_secret_that_never_comes_stops_its_own_engine_only(patient: Daemon, folder: Path) -> None:
    """A real hang on every machine, and not of a mount: a pipe that nobody writes into."""
    secret = folder / "secret"
    os.mkfifo(secret)
    stuck = [patient.create("secret") for _ in range(30)]
    other = patient.create()
    with ThreadPoolExecutor(30) as asking:
        turns = [asking.submit(patient.run, session, "true") for session in stuck]
        for _ in range(3):
            assert patient.run(other, "echo hello")["state"] == "completed"
            assert patient.run(patient.create(), "echo hello")["state"] == "completed"
        assert {one.result(PATIENT)["reason"] for one in turns} == {"secret_missing"}
    waiting = patient.send(stuck[0], "true")
    patient.call("session.release", session=stuck[0])
    begun = time.monotonic()
    assert patient.stop() == 0
    assert time.monotonic() - begun < PATIENT
    secret.unlink()
    secret.write_text("the word")
    patient.start(*impatient.COMMAND)
    assert patient.wait(waiting)["state"] == "completed", "what was queued is not lost"
    secret.unlink()


def test_a_dead_child_that_a_debugger_holds_stops_its_own_session_only(patient: Daemon) -> None:
    session, other = patient.create("sh"), patient.create()
    turn = patient.send(session, shlex.join(["exec", *python(TRACEABLE + WAITS)]))
    wait_until(lambda: patient.output(turn), "it runs")
    (pid,) = pids_with(f"ROOST_SESSION={session}")
    with held(pid):
        assert refused(patient, session) == [pid]
        assert patient.run(other, "echo hello")["state"] == "completed"
        assert patient.session(session)["state"] == "busy"
    wait_until(lambda: idle(patient, session), "it ends by itself")
    assert left(patient, session) == [[pid]]
    assert patient.call("turn.get", turn=turn)["turn"]["state"] == "cancelled"
    assert patient.run(session, "echo hello")["state"] == "completed"


@pytest.mark.parametrize("kind", ["shell", "sh"])
def test_children_that_are_stopped_or_deaf_to_sigterm_are_ended(patient: Daemon, kind: str) -> None:
    deaf = "trap '' TERM; while :; do sleep 1000; done"
    for prompt in ("kill -STOP $$; echo awake", deaf, f"setsid sh -c '{deaf.replace(chr(39), chr(34))}' & wait"):
        session = patient.create(kind)
        turn = patient.send(session, prompt)
        wait_until(partial(forked, session, 1 + (kind == "shell")), "it runs")
        patient.call("session.stop", session=session)
        assert patient.call("turn.get", turn=turn)["turn"]["state"] == "cancelled"
        assert pids_with(f"ROOST_SESSION={session}") == set() and left(patient, session) == []


BOMBS = {
    "each link forks one and ends": "f() { f & }; f; sleep 1000",
    "hundreds that fork again as they end": "i=0; while [ $i -lt 60 ]; do (while :; do (true) & wait; done) & "
    "i=$((i+1)); done; wait",
    "in sessions of their own": "f() { setsid sh -c 'trap \"\" TERM; sleep 0.2; . ./bomb' & }; f; f; sleep 1000",
}


@pytest.mark.parametrize("kind", ["shell", "sh"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_fork_bomb_ends_with_its_session(patient: Daemon, bomb: str, kind: str) -> None:
    (patient.workspace / "bomb").write_text("setsid sh -c 'trap \"\" TERM; sleep 0.2; . ./bomb' &\n")
    session, other = patient.create(kind), patient.create()
    patient.send(session, BOMBS[bomb])
    wait_until(partial(forked, session, 2), "it forks")
    begun = time.monotonic()
    with suppress(ProcessesLeft):  # said where a look takes as long as a link of the chain lives; not hung on
        patient.call("session.stop", session=session)
    assert time.monotonic() - begun < PATIENT
    wait_until(lambda: patient.session(session)["state"] == "idle", "it has ended")
    assert pids_with(f"ROOST_SESSION={session}") == set()
    assert patient.run(other, "echo hello")["state"] == "completed"


def test_what_hid_and_hangs_is_said_when_the_daemon_ends(dead: Hanging, patient: Daemon) -> None:
    """Its session cannot know of it; the daemon does, for it has come to it as an orphan."""
    session = patient.create()
    before = patient.events()[-1]["offset"]
    dead.deaf()
    patient.run(session, f"env -i setsid cat {dead.path}/one & true")
    wait_until(lambda: dead.asked() == 1, "it waits for the file system")
    patient.call("session.stop", session=session)
    assert patient.session(session)["state"] == "idle"
    assert patient.stop() == 0
    dead.well()
    patient.start(*impatient.COMMAND)
    (said,) = (event["data"] for event in patient.events(after=before) if event["kind"] == "daemon.processes_left")
    (pid,) = said["pids"]
    assert f"left are processes [{pid}], killed" in patient.log.read_text()
