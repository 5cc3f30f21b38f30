"""What a child asks the daemon: answered whenever it may be, while the child's output goes on."""

import pytest
import trio
import trio.testing

from helpers.joined import Joined
from roost.daemon.engines.line import MOST_ASKED
from roost.protocol import rpc


@pytest.fixture
def joined() -> Joined:
    return Joined()


async def test_a_request_that_waits_stops_no_output(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "may I?"}))
    await joined.tell(rpc.notification("progress", {"message": "meanwhile"}))
    assert joined.told == [("progress", {"message": "meanwhile"})]
    assert joined.asked == [{"text": "may I?"}]
    joined.gates["may I?"].set()
    assert await joined.answer() == (1, None, {"answer": "may I?"})


async def test_answers_go_out_as_they_come(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid, text in ((1, "first"), (2, "second")):
        await joined.tell(rpc.request(msgid, "question", {"text": text}))
    for msgid, text in ((2, "second"), (1, "first")):
        joined.gates[text].set()
        assert await joined.answer() == (msgid, None, {"answer": text})


async def test_so_many_requests_are_open_and_no_more(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid in range(MOST_ASKED + 1):
        await joined.theirs.send_all(rpc.request(msgid, "question", {"text": "x"}))
    assert await joined.answer() == (MOST_ASKED, "too_many_requests", None)
    joined.gates["x"].set()
    assert len([await joined.answer() for _ in range(MOST_ASKED)]) == MOST_ASKED
    await joined.tell(rpc.request(0, "question", {"text": "x"}))
    assert await joined.answer() == (0, None, {"answer": "x"})


async def test_a_msgid_that_is_in_use_is_refused(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    assert await joined.answer() == (1, "duplicate_msgid", None)
    joined.gates["x"].set()
    assert await joined.answer() == (1, None, {"answer": "x"})


async def test_a_request_is_withdrawn_by_the_child(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid, text in ((1, "first"), (2, "second")):
        await joined.tell(rpc.request(msgid, "question", {"text": text}))
    await joined.tell(rpc.notification("rpc.cancel", {"msgid": 1}) + rpc.notification("rpc.cancel", {"msgid": 7}))
    assert await joined.answer() == (1, "request_cancelled", None)
    joined.gates["second"].set()
    assert await joined.answer() == (2, None, {"answer": "second"})
    assert joined.given_up == ["first"] and joined.told == []


async def test_requests_end_with_the_turn(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.line.withdraw()
    assert await joined.answer() == (1, "request_cancelled", None)
    assert joined.given_up == ["x"]


async def test_requests_end_with_the_line(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.line.close()
    await trio.testing.wait_all_tasks_blocked()
    assert joined.given_up == ["x"]


@pytest.mark.parametrize(
    ("text", "name"), [("refused", "not_supported"), ("bug", "internal_error"), ("unsayable", "internal_error")]
)
async def test_an_answer_that_fails_is_an_error_and_harms_nobody(
    joined: Joined, nursery: trio.Nursery, text: str, name: str
) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": text}))
    assert await joined.answer() == (1, name, None)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.gates["x"].set()
    assert await joined.answer() == (1, None, {"answer": "x"})
