"""What a turn's child says, in batches: items, deltas, contents long and short, progress, usage."""

from itertools import pairwise
from string import ascii_lowercase

import pytest

from helpers.ledger import Ledger, data
from roost.daemon.core.said import Append, Change, End, Progress, Start, Update, UsageReport
from roost.daemon.store import items, reads
from roost.protocol.errors import IllegalTransition, ItemNotFound, LimitReached, TurnNotFound
from roost.protocol.model import Item, ItemKind, ItemState, Turn, TurnState, Usage, new_id
from roost.protocol.model import Progress as Progressed

KIB = 1024


def record(ledger: Ledger, turn: Turn, *changes: Change) -> None:
    ledger.do(items.record, turn.id, changes)


def only(ledger: Ledger, turn: Turn) -> Item:
    (item,), following = ledger.read(reads.items, turn.id)
    assert following is None
    return item


def whole(ledger: Ledger, item: str, piece: int = 100_000) -> bytes:
    """The content as a client reads it, a piece at a time."""
    found, offset = b"", 0
    while True:
        got, following, _, kept = ledger.read(reads.item_bytes, item, offset, piece)
        found += got
        if following is None:
            assert len(found) == kept
            return found
        offset = following


def test_an_item_starts_grows_and_ends(ledger: Ledger) -> None:
    session, turn = ledger.running()
    seq, id = ledger.session(session).seq, new_id("i")
    record(ledger, turn, Start(id, ItemKind.command, "ls", {"cwd": "/srv"}), Append(id, "grün\n"))
    growing = only(ledger, turn)
    assert (growing.state, growing.content, growing.bytes, growing.kept) == ("in_progress", "grün\n", 6, 6)
    record(ledger, turn, Append(id, "rot\n"), End(id, ItemState.completed, {"exit_code": 0}))
    ended = only(ledger, turn)
    assert (ended.state, ended.content, ended.bytes, ended.tail) == ("completed", "grün\nrot\n", 10, "")
    assert (ended.data, ended.number, ended.truncated) == ({"cwd": "/srv", "exit_code": 0}, 1, False)
    started, first, second, end = ledger.events(session, seq)
    assert data(started) == {"item": id, "number": 1, "kind": "command", "title": "ls", "data": {"cwd": "/srv"}}
    assert data(first) == {"item": id, "start": 0, "text": "grün\n"}
    assert data(second) == {"item": id, "start": 6, "text": "rot\n"}
    assert end.kind == "item.completed" and Item.model_validate(data(end)["item"]) == ended
    assert whole(ledger, id) == "grün\nrot\n".encode()


def test_a_page_of_items_is_bounded_by_their_data_too(ledger: Ledger) -> None:
    _, turn = ledger.running()
    ids = [new_id("i") for _ in range(30)]
    record(ledger, turn, *[Start(id, ItemKind.status, "", {"x": "x" * 100_000}) for id in ids])
    first, following = ledger.read(reads.items, turn.id)
    assert following is not None and len(first) <= reads.MAX_BYTES // 100_000
    rest, _ = ledger.read(reads.items, turn.id, following)
    assert [item.id for item in first + rest] == ids[: len(first) + len(rest)]


def test_an_item_in_one_batch(ledger: Ledger) -> None:
    _, turn = ledger.running()
    one, two = new_id("i"), new_id("i")
    begin = [Start(id, ItemKind.thought, "", {}) for id in (one, two)]
    grow = [Append(one, "a"), Append(two, "x"), Append(one, "b"), Append(two, "y"), Append(one, "")]
    record(ledger, turn, *begin, *grow, End(one, ItemState.failed, {}))
    found, _ = ledger.read(reads.items, turn.id)
    assert [(item.number, item.content, item.state) for item in found] == [
        (1, "ab", ItemState.failed),
        (2, "xy", ItemState.in_progress),
    ]
    starts = [data(event)["start"] for event in ledger.events(turn.session, kinds=["item.delta"])]
    assert starts == [0, 0, 1, 1]


def test_a_batch_is_one_piece_of_content_however_many_deltas(ledger: Ledger) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn)
    for _ in range(3):
        record(ledger, turn, *[Append(id, "line\n")] * 100)
    assert ledger.conn.execute("SELECT count(*) FROM chunks").fetchone() == (3,)
    record(ledger, turn, End(id, ItemState.completed, {}))
    assert ledger.conn.execute("SELECT count(*) FROM chunks").fetchone() == (0,), "it stands in its record now"
    assert only(ledger, turn).content == "line\n" * 300


@pytest.mark.parametrize("character", ["x", "ä", "€", "😀"])
@pytest.mark.parametrize("more", [-1, 0, 1, 200_000])
def test_content_is_inline_up_to_256_kib_then_head_and_tail(ledger: Ledger, character: str, more: int) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn, "!")
    size = len(character.encode())
    text = character * ((256 * KIB - 1) // size + more)
    record(ledger, turn, Append(id, text))
    growing = only(ledger, turn)
    record(ledger, turn, End(id, ItemState.completed, {}))
    item = only(ledger, turn)
    content = ("!" + text).encode()
    assert item.bytes == item.kept == len(content)
    assert whole(ledger, id, 99_999) == content
    if len(content) <= 256 * KIB:
        assert (item.content.encode(), item.tail, item.truncated) == (content, "", False)
    else:
        head, tail = item.content.encode(), item.tail.encode()
        assert content.startswith(head) and content.endswith(tail) and item.truncated
        assert 128 * KIB - size < len(head) <= 128 * KIB and 128 * KIB - size < len(tail) <= 128 * KIB
    assert (growing.content, growing.tail, growing.truncated) == (item.content, item.tail, item.truncated)


def test_what_is_past_max_output_is_counted_and_not_kept(ledger: Ledger) -> None:
    session, turn = ledger.running()
    id = ledger.item(turn, "kept")
    deltas = ledger.kinds(session).count("item.delta")
    record(ledger, turn, Append(id, "", 1000), Append(id, "", 1000))
    assert ledger.kinds(session).count("item.delta") == deltas, "there is nothing to show"
    record(ledger, turn, End(id, ItemState.completed, {}))
    item = only(ledger, turn)
    assert (item.content, item.bytes, item.kept, item.truncated) == ("kept", 2004, 4, True)
    assert ledger.read(reads.item_bytes, id, 0, 100) == (b"kept", None, 2004, 4)


def test_a_long_text_is_several_deltas(ledger: Ledger) -> None:
    session, turn = ledger.running()
    text = "€" * 400_000
    id = ledger.item(turn, text)
    deltas = [data(event) for event in ledger.events(session, kinds=["item.delta"])]
    assert len(deltas) > 1 and "".join(delta["text"] for delta in deltas) == text
    for delta, following in pairwise(deltas):
        assert following["start"] == delta["start"] + len(delta["text"].encode())
    assert whole(ledger, id) == text.encode()


@pytest.mark.parametrize(("offset", "limit"), [(0, 1), (5, 7), (299_990, 100), (300_000, 10), (400_000, 10)])
def test_any_piece_of_an_item_can_be_read(ledger: Ledger, offset: int, limit: int) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn)
    text = (ascii_lowercase * 12_000)[:300_000]
    for start in range(0, len(text), 7_001):
        record(ledger, turn, Append(id, text[start : start + 7_001]))
    expected = text[offset : offset + limit].encode()
    following = offset + len(expected) if offset + limit < len(text) else None
    assert ledger.read(reads.item_bytes, id, offset, limit) == (
        expected,
        following,
        300_000,
        300_000,
    )


def test_an_item_without_content(ledger: Ledger) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn)
    assert whole(ledger, id) == b""
    record(ledger, turn, End(id, ItemState.cancelled, {}))
    assert (only(ledger, turn).state, whole(ledger, id)) == ("cancelled", b"")


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "interrupted"])
def test_what_is_open_ends_as_its_turn_does(ledger: Ledger, state: str) -> None:
    """A partial message is kept, and says what became of it."""
    session, turn = ledger.running()
    first, second = ledger.item(turn, "half a wo"), ledger.item(turn)
    record(ledger, turn, End(second, ItemState.completed, {}))
    ledger.end(turn, TurnState(state))
    found, _ = ledger.read(reads.items, turn.id)
    assert [(item.id, item.state, item.content) for item in found] == [
        (first, state, "half a wo"),
        (second, "completed", ""),
    ]
    assert ledger.kinds(session)[-3:-1] == [f"item.{state}", f"turn.{state}"]


def test_what_comes_after_the_end_of_the_turn_is_dropped(ledger: Ledger) -> None:
    session, turn = ledger.running()
    id = ledger.item(turn, "before")
    ledger.end(turn)
    seq = ledger.session(session).seq
    late: list[Change] = [
        Start(new_id("i"), ItemKind.status, "", {}),
        Append(id, "late"),
        UsageReport(Usage(input_tokens=1)),
    ]
    record(ledger, turn, *late, Progress("still here", None), End(id, ItemState.failed, {}))
    assert ledger.session(session).seq == seq
    assert only(ledger, turn).content == "before"


@pytest.mark.parametrize("late", [Append("", "more"), Append("", "", 5), End("", ItemState.failed, {})])
def test_an_item_that_has_ended_takes_nothing_more(ledger: Ledger, late: Append | End) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn, "all")
    record(ledger, turn, End(id, ItemState.completed, {}))
    with pytest.raises(IllegalTransition, match=f"{id} is completed"):
        record(ledger, turn, late._replace(item=id))
    with pytest.raises(IllegalTransition):
        other = new_id("i")
        begin = Start(other, ItemKind.plan, "", {})
        record(ledger, turn, begin, End(other, ItemState.completed, {}), late._replace(item=other))
    assert only(ledger, turn).content == "all"


def test_unknown_items_and_turns_are_named(ledger: Ledger) -> None:
    _, turn = ledger.running()
    for change in (Append("i-none", "x"), End("i-none", ItemState.failed, {})):
        with pytest.raises(ItemNotFound, match="i-none"):
            record(ledger, turn, change)
    with pytest.raises(ItemNotFound):
        ledger.read(reads.item_bytes, "i-none", 0, 1)
    with pytest.raises(ItemNotFound):
        ledger.do(lambda tx: tx.item("i-none"))
    with pytest.raises(TurnNotFound):
        ledger.do(items.record, "t-none", [])


def test_data_that_fits_no_event_fails_the_batch_whole(ledger: Ledger) -> None:
    session, turn = ledger.running()
    seq, id = ledger.session(session).seq, new_id("i")
    with pytest.raises(LimitReached):
        record(ledger, turn, Start(id, ItemKind.plan, "", {}), End(id, ItemState.completed, {"all": "x" * 1_100_000}))
    assert ledger.session(session).seq == seq
    assert ledger.read(reads.items, turn.id) == ([], None)


def test_progress_is_said(ledger: Ledger) -> None:
    session, turn = ledger.running()
    record(ledger, turn, Progress("reading", None), Progress("half", 0.5))
    assert [data(event) for event in ledger.events(session, kinds=["turn.progressed"])] == [
        {"message": "reading"},
        {"message": "half", "fraction": 0.5},
    ]
    assert ledger.turn(turn).progress == Progressed(message="half", fraction=0.5)
    assert ledger.end(ledger.turn(turn)).progress == Progressed(message="half", fraction=0.5)


def test_progress_and_usage_of_one_batch_both_stay(ledger: Ledger) -> None:
    _, turn = ledger.running()
    record(ledger, turn, Progress("half", 0.5), UsageReport(Usage(input_tokens=7)), Progress("done", None))
    now = ledger.turn(turn)
    assert (now.progress, now.usage.input_tokens) == (Progressed(message="done"), 7)


def test_an_open_item_is_updated_while_it_grows(ledger: Ledger) -> None:
    _, turn = ledger.running()
    id = new_id("i")
    record(ledger, turn, Start(id, ItemKind.command, "ls", {"a": 1}), Append(id, "one "))
    record(ledger, turn, Append(id, "two "), Update(id, "ls -l", {"b": 2}, None), Append(id, "three"))
    growing = only(ledger, turn)
    assert (growing.title, growing.data, growing.content) == ("ls -l", {"a": 1, "b": 2}, "one two three")
    record(ledger, turn, Update(id, "ls -la", {}, None), End(id, ItemState.completed, {"exit_code": 0}))
    ended = only(ledger, turn)
    assert (ended.title, ended.data) == ("ls -la", {"a": 1, "b": 2, "exit_code": 0})
    assert whole(ledger, id) == b"one two three"


@pytest.mark.parametrize("size", [10, 300 * KIB])
def test_the_output_of_an_ended_item_is_amended(ledger: Ledger, size: int) -> None:
    _, turn = ledger.running()
    id = new_id("i")
    record(ledger, turn, Start(id, ItemKind.command, "ls", {}), Append(id, "x" * size), End(id, ItemState.failed, {}))
    record(ledger, turn, Update(id, None, {"late": True}, None))
    assert whole(ledger, id) == b"x" * size
    record(ledger, turn, Update(id, None, {}, "grün", 3))
    now = only(ledger, turn)
    assert (now.content, now.tail, now.kept, now.bytes, now.truncated) == ("grün", "", 5, 8, True)
    assert (now.state, now.data, whole(ledger, id)) == ("failed", {"late": True}, "grün".encode())


def test_the_data_of_an_item_stays_bounded_however_often_it_is_updated(ledger: Ledger) -> None:
    _, turn = ledger.running()
    id = new_id("i")
    record(ledger, turn, Start(id, ItemKind.status, "", {}))
    for name in "ab":
        record(ledger, turn, Update(id, None, {name: "x" * 100 * KIB}, None))
    with pytest.raises(LimitReached, match="start another item"):
        record(ledger, turn, Update(id, None, {"c": "x" * 100 * KIB}, None))
    assert only(ledger, turn).data.keys() == {"a", "b"}


def test_usage_adds_up_in_the_turn_and_the_session(ledger: Ledger) -> None:
    session, first = ledger.running("one", "two")
    record(ledger, first, UsageReport(Usage(input_tokens=5)), UsageReport(Usage(output_tokens=3, cost=0.25)))
    ledger.end(first)
    second = ledger.claim(session)
    record(ledger, second, UsageReport(Usage(input_tokens=1, reasoning_tokens=2, cached_tokens=4, cost=0.5)))
    assert ledger.turn(first).usage == Usage(input_tokens=5, output_tokens=3, cost=0.25)
    assert ledger.session(session).usage == Usage(
        input_tokens=6, output_tokens=3, reasoning_tokens=2, cached_tokens=4, cost=0.75
    )
    reported = [data(event)["usage"] for event in ledger.events(session, kinds=["turn.usage_reported"])]
    assert reported[1] == ledger.turn(first).usage.to_wire()
    assert ledger.session(session).usage.cost == 0.75


def test_pages_of_items_stay_below_1_mib(ledger: Ledger) -> None:
    _, turn = ledger.running()
    made = [ledger.item(turn, "x" * 250_000) for _ in range(8)]
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page, after = ledger.read(reads.items, turn.id, after)
        assert 0 < sum(len(item.content) for item in page) < 1_000_000
        found += [item.id for item in page]
    assert found == made
