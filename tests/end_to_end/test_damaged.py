"""A database that is damaged where opening it does not look: refused if it is met at the start, said if later."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from helpers.daemon import DEADLINE, Daemon
from helpers.handed import handed
from helpers.ledger import Ledger
from roost.protocol.errors import DatabaseDamaged


def damage(daemon: Daemon, name: str) -> bytes:
    """Overwrite the first page of a table or an index; what the database is now."""
    database = daemon.state / "roost.db"
    with closing(sqlite3.connect(database)) as conn:
        (page,) = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        (size,) = conn.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    return database.read_bytes()


def refuses(daemon: Daemon) -> None:
    """Its start ends as for any database that is refused."""
    command = [sys.executable, "-m", "roost.daemon"]
    done = subprocess.run(command, env=daemon.environ, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 10, done.stderr
    assert "database_damaged" in done.stderr and "roost.db is damaged" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["turns_live", "children", "events"])
def test_damage_that_the_start_meets_is_a_refusal(used: Daemon, name: str) -> None:
    """What was cut off cannot be settled; and nothing is made worse."""
    before = damage(used, name)
    refuses(used)
    assert (used.state / "roost.db").read_bytes() == before


def test_damage_that_keeps_a_turn_from_being_settled_is_a_refusal(roostd: Daemon) -> None:
    """Whether what was cut off has ended must be on disk before anything is served."""
    roostd.state.mkdir(mode=0o700)
    with closing(Ledger(roostd.state / "roost.db")) as ledger:
        ledger.running()
    damage(roostd, "turns")
    refuses(roostd)


@pytest.mark.parametrize("name", ["turns_live", "children", "events"])
def test_behind_systemds_socket_it_stays_up_and_answers_with_the_reason(used: Daemon, name: str) -> None:
    before = damage(used, name)
    with handed(used) as process:
        for method in ("session.list", "session.list", "events.read"):
            with pytest.raises(DatabaseDamaged, match=r"roost\.db is damaged"):
                used.call(method)
        assert used.call("daemon.status")["phase"] == "refused"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 10
    assert (used.state / "roost.db").read_bytes() == before


def test_damage_that_a_reader_meets_is_in_the_status_from_then_on(used: Daemon) -> None:
    """A write that works elsewhere in the file does not hide it."""
    damage(used, "sessions")
    used.start()
    with pytest.raises(DatabaseDamaged):
        used.call("session.list")
    storage = used.call("daemon.status")["storage"]
    assert not storage["ok"] and storage["problem"]["name"] == "database_damaged"
    used.call("daemon.reload")
    assert used.events()[-1]["kind"] == "daemon.reloaded", "that was written"
    assert used.call("daemon.status")["storage"] == storage
