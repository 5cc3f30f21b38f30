"""Which live sessions are unloaded."""

from hypothesis import given
from hypothesis import strategies as st

from roost.daemon.core.unload import Candidate, choose


def session(name: str, used_at: float, busy: bool = False) -> Candidate:
    return Candidate(name, used_at, busy)


def test_idle_for_strictly_longer_goes() -> None:
    candidates = [session("exactly", 100), session("longer", 99.9), session("just now", 1899)]
    assert choose(candidates, now=1900, idle=1800, max_live=0) == ["longer"]


def test_busy_is_never_idle() -> None:
    assert choose([session("a", 0, busy=True)], now=9999, idle=1, max_live=0) == []


def test_least_recently_used_goes_first() -> None:
    candidates = [session("c", 3), session("a", 1), session("d", 4), session("b", 2)]
    assert choose(candidates, now=5, idle=100, max_live=2) == ["a", "b"]


def test_busy_ones_are_passed_over() -> None:
    candidates = [session("a", 1, busy=True), session("b", 2), session("c", 3)]
    assert choose(candidates, now=5, idle=100, max_live=2) == ["b"]


def test_all_busy_exceeds_the_limit() -> None:
    candidates = [session(name, 1, busy=True) for name in "abc"]
    assert choose(candidates, now=5, idle=100, max_live=1) == []


def test_zero_is_no_limit() -> None:
    assert choose([session(str(n), n) for n in range(1000)], now=1000, idle=1000, max_live=0) == []


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20),
    st.floats(0, 50),
    st.integers(0, 20),
)
def test_limit_holds_unless_the_busy_alone_exceed_it(
    sessions: list[tuple[float, bool]], idle: float, max_live: int
) -> None:
    candidates = [session(str(n), used_at, busy) for n, (used_at, busy) in enumerate(sessions)]
    gone = set(choose(candidates, now=100, idle=idle, max_live=max_live))
    kept = [one for one in candidates if one.id not in gone]
    busy = sum(one.busy for one in candidates)
    assert all(one.busy or 100 - one.used_at <= idle for one in kept)
    assert max_live == 0 or len(kept) <= max(max_live, busy)
    newest_gone = max((one.used_at for one in candidates if one.id in gone), default=0)
    assert all(one.busy or one.used_at >= newest_gone for one in kept)
