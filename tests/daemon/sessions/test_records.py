"""Sessions in memory: changed by commits only; whoever waits for one is woken, and leaves nothing behind."""

from typing import Any

import pytest
import trio
import trio.testing

from roost.daemon.sessions.records import Records
from roost.daemon.store import Commit
from roost.protocol.model import EngineKind, Hold, Session, SessionState, Turn, TurnState


def session(id: str, **fields: Any) -> Session:
    found = Session(id=id, engine="e", kind=EngineKind.worker, workspace="/", created_at=1, updated_at=1, active_at=1)
    return found.model_copy(update=fields)


def turn(id: str, state: TurnState) -> Turn:
    return Turn(id=id, session="s-a", number=1, state=state, input="x", created_at=1)


def commit(*sessions: Session, gone: str = "", turns: tuple[Turn, ...] = ()) -> Commit:
    changed: dict[str, Session | None] = {one.id: one for one in sessions}
    return Commit([], changed | ({gone: None} if gone else {}), list(turns))


def test_a_session_is_found_by_id_and_by_its_name_once_the_store_was_asked() -> None:
    records = Records()
    records.apply(commit(session("s-a", name="work")))
    assert records.get("s-a") is records.by_id("s-a") and records.get("work") is None
    records.found(session("s-a", name="work"))
    assert records.get("work") is records.by_id("s-a")
    records.apply(commit(session("s-a", name="play")))
    assert records.get("work") is None and records.get("play") is None
    records.complete = True
    assert records.get("play") is records.by_id("s-a")
    records.apply(commit(gone="s-a"))
    assert records.get("play") is None and records.get("s-a") is None and records.known() == []


def test_a_name_that_two_have_is_left_to_the_store_which_tells_both() -> None:
    records = Records()
    records.complete = True
    records.apply(commit(session("s-old", name="work", archived=True)))
    assert records.get("work") is not None
    records.apply(commit(session("s-new", name="work")))
    assert records.get("work") is None
    records.apply(commit(gone="s-old"))
    assert records.get("work") == records.by_id("s-new")


def test_a_name_that_may_be_the_start_of_an_id_is_left_to_the_store() -> None:
    records = Records()
    records.complete = True
    records.apply(commit(session("s-abc", name="s-x"), session("s-def", name="s"), session("s-ghi", name="sound")))
    assert records.get("s-x") is None and records.get("s") is None and records.get("sound") is not None


def test_what_is_read_never_covers_what_was_committed() -> None:
    records = Records()
    records.apply(commit(session("s-a", seq=7)))
    records.loaded([session("s-a", seq=3), session("s-b", seq=1)])
    assert [one.seq for one in records.known()] == [7, 1]


def test_the_packed_record_follows_each_change() -> None:
    records = Records()
    records.apply(commit(session("s-a", seq=1)))
    first = records.packed("s-a")
    assert records.packed("s-a") is first
    records.apply(commit(session("s-a", seq=2)))
    assert records.packed("s-a") != first


def test_pages_are_in_order_of_creation() -> None:
    records = Records()
    for n in (3, 1, 2):
        records.apply(commit(session(f"s-{n}", created_at=n)))
    records.apply(commit(session("s-4", created_at=4, archived=True)))
    records.apply(commit(session("s-5", created_at=5, state=SessionState.ready)))
    assert records.page(False, None, 2, "") == (["s-1", "s-2"], "2.s-2")
    assert records.page(False, None, 2, "2.s-2") == (["s-3", "s-5"], None)
    assert records.page(True, None, 9, "") == (["s-4"], None)
    assert records.page(False, SessionState.ready, 9, "") == (["s-5"], None)


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({"queued": 1}, True),
        ({"queued": 0}, False),
        ({"queued": 1, "hold": Hold(reason="failed", at=1)}, False),
        ({"queued": 1, "archived": True}, False),
        ({"queued": 1, "state": SessionState.failed}, False),
    ],
)
def test_runnable_are_those_whose_queue_may_go_on(fields: dict[str, Any], runs: bool) -> None:
    records = Records()
    records.apply(commit(session("s-a", queued=1)))
    records.apply(commit(session("s-a", **fields)))
    assert ("s-a" in records.runnable) is runs


def test_one_that_had_its_turn_goes_behind_the_others() -> None:
    records = Records()
    records.apply(commit(session("s-a", queued=5)))
    records.apply(commit(session("s-b", queued=1)))
    records.behind_others("s-a")
    records.behind_others("s-none")
    records.apply(commit(session("s-a", queued=4)))
    assert list(records.runnable) == ["s-b", "s-a"]


async def test_the_end_of_a_turn_wakes_all_who_wait_for_it() -> None:
    records = Records()
    woken: list[int] = []

    async def wait(n: int) -> None:
        with records.changed.next("t-1") as ended:
            await ended.wait()
            woken.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(wait, n)
        await trio.testing.wait_all_tasks_blocked()
        records.apply(commit(session("s-a"), turns=(turn("t-1", TurnState.running),)))
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        records.apply(commit(session("s-a"), turns=(turn("t-1", TurnState.completed),)))
    assert sorted(woken) == [0, 1, 2] and vars(records.changed)["_waiting"] == {}


async def test_one_who_leaves_takes_nobodys_wake_up_along() -> None:
    """Also not of somebody who has entered and still looks into the store."""
    records = Records()
    with trio.fail_after(5):
        with records.changed.next("t-1") as looking:
            with records.changed.next("t-1"):
                pass  # another one came and has left
            records.apply(commit(session("s-a"), turns=(turn("t-1", TurnState.failed),)))
            await looking.wait()
    assert vars(records.changed)["_waiting"] == {}


async def test_a_deleted_session_wakes_who_waits_for_its_turns() -> None:
    records = Records()
    records.apply(commit(session("s-a")))
    before = records.deleted
    with trio.fail_after(5), records.changed.next("t-1") as ended:
        records.apply(commit(gone="s-a"))
        await ended.wait()
    assert records.deleted == before + 1


async def test_a_change_wakes_who_waits_for_it() -> None:
    records = Records()
    records.apply(commit(session("s-a")))

    async def wait() -> None:
        with records.changed.next("s-a") as changed:
            await changed.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            records.apply(commit(session("s-b")))
            records.apply(commit(session("s-a", seq=2)))
    assert vars(records.changed)["_waiting"] == {}
