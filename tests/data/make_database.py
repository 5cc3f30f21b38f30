"""Makes the database of the newest format for the tests of later ones: python tests/data/make_database.py v1.db

Made once for each released format; a file that is there is never made again.
"""

import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.ledger import Ledger
from roost.daemon.core.said import UsageReport
from roost.daemon.store import checkpoints, items, sessions
from roost.protocol.events import TURN_PROGRESSED, TurnProgressed
from roost.protocol.model import Problem, TurnState, Usage


def fill(ledger: Ledger) -> None:
    """Sessions whose turns and items stand in every state."""
    done, first = ledger.running("echo one", "echo two", name="done", env={"LANG": "C.UTF-8"})
    item = ledger.item(first, "one\n")
    ledger.do(items.record, first.id, [UsageReport(Usage(input_tokens=7, cost=0.5))])
    ledger.end(first, engine_state=b"\x81\xa3cwd\xa4/srv", exit_code=0, duration=12)
    second = ledger.claim(done)
    ledger.item(second, "ä" * 135_000)
    ledger.end(second, engine_state=b"\x81\xa3cwd\xa4/tmp", exit_code=0, duration=3)
    ledger.do(checkpoints.save, done.id, name="mark", state=b"\xc0", through_turn=second.id)
    assert ledger.session(done).last_turn == second.id and item

    _, failing = ledger.running("false", "echo behind", "echo last", name="waiting")
    ledger.item(failing, "nothing\n")
    problem = Problem(name="turn_failed", message="exit status 1", data={"exit_code": 1})
    ledger.end(failing, TurnState.failed, problem=problem, exit_code=1, duration=5)

    _, running = ledger.running("sleep 600", "echo after", name="cut-off")
    ledger.item(running, "half a li")

    archived = ledger.create("archived")
    ledger.do(sessions.archive, archived.id)
    ledger.do(lambda tx: tx.emit("", TURN_PROGRESSED, TurnProgressed(message="of the daemon's own")))


if __name__ == "__main__":
    target = Path(__file__).with_name(sys.argv[1])
    if target.exists():
        sys.exit(f"{target} is there; a database of a released format is never made again")
    with closing(Ledger(target)) as ledger:
        fill(ledger)
