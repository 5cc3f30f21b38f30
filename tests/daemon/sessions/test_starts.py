"""A few start at a time, and nobody waits long for those that hang."""

import trio
import trio.testing

from roost.daemon.sessions.starts import Starts


async def test_a_few_start_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    starts = Starts(2, patience=1000)
    inside, most, done = 0, 0, 0

    async def start(who: int) -> None:
        nonlocal inside, most, done
        await starts.begin(who)
        inside += 1
        most = max(most, inside)
        await trio.sleep(1)
        inside -= 1
        done += 1
        starts.done(who)
        starts.done(who)  # told twice, it gives one place back

    async with trio.open_nursery() as nursery:
        for who in range(7):
            nursery.start_soon(start, who)
    assert (most, done, trio.current_time() >= 4) == (2, 7, True)


async def test_who_has_waited_long_starts_anyway(autojump_clock: trio.testing.MockClock) -> None:
    """Those that hang have the places: they must not stop the others."""
    starts = Starts(2, patience=5)
    for hanging in ("a", "b"):
        await starts.begin(hanging)
    begun = trio.current_time()
    await starts.begin("c")
    assert trio.current_time() - begun == 5
    starts.done("c")  # it had none
    with trio.move_on_after(1) as waiting:
        await starts.begin("d")
    assert waiting.cancelled_caught
    starts.done("a")
    with trio.fail_after(1):
        await starts.begin("e")


async def test_who_leaves_while_it_waits_takes_no_place(autojump_clock: trio.testing.MockClock) -> None:
    starts = Starts(1, patience=1000)
    await starts.begin("a")
    with trio.move_on_after(1):
        await starts.begin("b")
    starts.done("b")
    starts.done("a")
    with trio.fail_after(1):
        await starts.begin("c")
