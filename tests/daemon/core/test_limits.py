"""Which limits hold for a session, and which of them nobody enforces."""

from roost.daemon.core.limits import effective, unenforced
from roost.protocol.model import Limits


def test_a_sessions_own_limit_comes_before_its_engines() -> None:
    engine = Limits(memory_max=1000, pids_max=10)
    assert effective(Limits(), engine) == engine
    assert effective(Limits(pids_max=20, nofile=5), engine) == Limits(memory_max=1000, pids_max=20, nofile=5)
    assert effective(Limits(memory_max=1), Limits()) == Limits(memory_max=1)


def test_only_limits_that_are_set_can_be_unenforced() -> None:
    limits = Limits(memory_max=1000, cpu_max=0.5, nofile=5)
    assert unenforced(limits, {"nofile", "pids_max"}) == ["memory_max", "cpu_max"]
    assert unenforced(limits, set(Limits.model_fields)) == []
    assert unenforced(Limits(), ()) == []
