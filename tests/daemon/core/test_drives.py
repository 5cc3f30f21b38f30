"""What the queue runner decides."""

from roost.daemon.core.drives import Drives

SLOTS = 10


def test_one_drive_in_flight_for_a_session() -> None:
    """Work that came while it was in flight is driven when that ends."""
    drives = Drives()
    assert drives.due(0.0, ["a"], SLOTS, ()) == ["a"]
    assert drives.due(0.1, ["a"], SLOTS, ()) == []
    drives.finished("a", 0.2, ok=True)
    assert drives.due(0.2, ["a"], SLOTS, ()) == ["a"]


def test_a_session_in_flight_stops_no_other() -> None:
    """One in flight neither stops the poll nor a poke of another."""
    drives = Drives()
    assert drives.due(0.0, ["a"], SLOTS, ()) == ["a"]
    assert drives.due(0.0, ["a", "b", "c"], SLOTS, ()) == ["b", "c"]


def test_start_up_recovers_all_at_once() -> None:
    """Not one by one."""
    sessions = [f"s{n}" for n in range(100)]
    assert Drives().due(0.0, sessions, 1000, ()) == sessions


def test_slots_bound_the_whole_and_are_given_back() -> None:
    drives = Drives()
    assert drives.due(0.0, ["a", "b", "c"], 2, ()) == ["a", "b"]
    assert drives.due(0.0, ["a", "b", "c"], 2, ()) == []
    drives.finished("a", 1.0, ok=True)
    assert drives.due(1.0, ["c"], 2, ()) == ["c"]


def test_fewer_slots_end_nothing_and_more_are_used_at_once() -> None:
    """New settings hold from the next look on."""
    drives = Drives()
    assert drives.due(0.0, ["a", "b", "c"], 2, ()) == ["a", "b"]
    assert drives.due(0.0, ["a", "b", "c"], 1, ()) == []
    assert drives.due(0.0, ["a", "b", "c"], 3, ()) == ["c"]


def test_a_failing_session_backs_off_alone() -> None:
    """A failing handle is not called at each poll, and the others do not wait."""
    drives = Drives()
    now, starts = 0.0, 0
    while now < 60.0:
        for session in drives.due(now, ["bad"], SLOTS, ()):
            starts += 1
            drives.finished(session, now, ok=False, jitter=0.999)
        assert drives.due(now, ["good"], SLOTS, ()) == ["good"]
        drives.finished("good", now, ok=True)
        now += 0.4
    assert 5 <= starts <= 12


def test_success_and_a_person_forget_the_failures() -> None:
    drives = Drives()
    for _ in range(8):
        drives.finished("a", 0.0, ok=False, jitter=0.5)
    assert drives.due(1.0, ["a"], SLOTS, ()) == []
    drives.rearm("a")
    assert drives.due(1.0, ["a"], SLOTS, ()) == ["a"]
    drives.finished("a", 1.0, ok=False)
    assert drives.due(1.2, ["a"], SLOTS, ()) == ["a"], "counted from one again"


def test_in_flight_says_since_when() -> None:
    """What is in flight, and for how long, can be asked for."""
    drives = Drives()
    drives.due(3.0, ["a"], SLOTS, ())
    assert drives.in_flight == {"a": 3.0}


def test_a_completion_of_what_is_not_in_flight_is_harmless() -> None:
    drives = Drives()
    drives.finished("a", 0.0, ok=True)
    assert drives.due(0.0, ["a"], SLOTS, ()) == ["a"]


def test_a_turn_that_waits_has_no_place_and_one_that_goes_on_is_before_any_new_turn() -> None:
    drives = Drives()
    assert drives.due(0.0, ["a", "b", "c"], 1, ()) == ["a"]
    drives.begun("a", 0.1)
    assert drives.due(0.2, ["b", "c"], 1, {"a"}) == []
    assert drives.due(0.3, ["a", "b", "c"], 1, ()) == ["b"], "its turn waits; it has no other turn meanwhile"
    drives.begun("b", 0.4)
    drives.resuming["a"] = None
    assert drives.resumed(1, {"b"}) == [] and drives.due(0.5, ["c"], 1, {"b"}) == []
    drives.finished("b", 0.6, ok=True)
    assert drives.resumed(1, ()) == ["a"]
    assert drives.due(0.6, ["b", "c"], 1, ()) == [], "its place is its own, before it runs again"
    drives.begun("a", 0.7)
    assert drives.due(0.8, ["b"], 1, {"a"}) == [] and drives.in_flight == {"a": 0.0}
    drives.finished("a", 0.9, ok=True)
    assert drives.due(0.9, ["b"], 1, ()) == ["b"]


def test_of_those_that_go_on_the_first_is_first() -> None:
    drives = Drives()
    for session in "abc":
        drives.resuming[session] = None
    assert drives.resumed(2, ()) == ["a", "b"]
    assert drives.resumed(2, {"a", "b"}) == []
    drives.finished("c", 0.0, ok=True)
    assert drives.resumed(9, ()) == [], "its turn has ended while it waited for a place"


def test_drives_that_are_abandoned_take_no_place_and_begun_turns_keep_theirs() -> None:
    drives = Drives()
    assert drives.due(0.0, ["a", "b"], 2, ()) == ["a", "b"]
    drives.begun("a", 0.1)
    drives.abandon()
    assert drives.in_flight == {"a": 0.0}
    assert drives.due(0.2, ["a", "b"], 2, {"a"}) == ["b"]
