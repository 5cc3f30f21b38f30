"""What is kept of a child that ended, whatever its engine's kind."""

from roost.daemon.engines.engine import starved
from roost.protocol.model import Problem

DIED = Problem(name="worker_exited", message="the session's child was ended by signal 9", data={"signal": 9})


def test_a_kill_for_want_of_memory_is_told_from_other_deaths() -> None:
    assert starved(DIED, 0) is DIED
    told = starved(DIED, 2)
    assert (told.name, told.data) == ("out_of_memory", {"signal": 9, "oom_kills": 2})
    assert DIED.message in told.message and "raise memory_max" in told.message
