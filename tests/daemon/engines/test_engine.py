"""What is kept of a child that ended, whatever its engine's kind."""

from roost.daemon.engines.engine import problem, starved
from roost.protocol.errors import TurnFailed
from roost.protocol.model import Problem
from roost.protocol.worker import LONGEST_MESSAGE, MOST_FAILURE

DIED = Problem(name="worker_exited", message="the session's child was ended by signal 9", data={"signal": 9})


def test_a_kill_for_want_of_memory_is_told_from_other_deaths() -> None:
    assert starved(DIED, 0) is DIED
    told = starved(DIED, 2)
    assert (told.name, told.data) == ("out_of_memory", {"signal": 9, "oom_kills": 2})
    assert DIED.message in told.message and "raise memory_max" in told.message


def test_of_an_error_as_much_is_kept_as_fits_beside_any_prompt() -> None:
    most = {"x": "y" * (MOST_FAILURE - 10)}
    assert problem(TurnFailed("no luck", **most)) == Problem(name="turn_failed", message="no luck", data=most)
    cut = problem(TurnFailed("\N{GRINNING FACE}" * 5000, **most, more=1), stderr="its last words")
    assert cut.data == {"truncated": True, "stderr": "its last words"}
    assert cut.message.endswith("\N{GRINNING FACE}…") and len(cut.message.encode()) <= LONGEST_MESSAGE
