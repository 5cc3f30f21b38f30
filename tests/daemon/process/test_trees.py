"""Whose a process is: every rule on tables written by hand."""

import pytest

from roost.daemon.process.proc import Identity, Mark, Stat, Tree
from roost.daemon.process.trees import Census, Root, census

SELF, SOCKET = 100, "/run/roost.sock"


def process(pid: int, ppid: int = 1, *, sid: int = 0, pgid: int = 0, state: str = "S", **rest: object) -> Stat:
    """Started at ``pid`` ticks, in a session and group of its own unless said otherwise."""
    fields = {"comm": b"x", "tty": 0, "threads": 1, "start_time": pid, "size": 1, **rest}
    return Stat(pid=pid, ppid=ppid, sid=sid or pid, pgid=pgid or sid or pid, state=state, **fields)  # type: ignore[arg-type]


def root(pid: int, session: str = "s-1", start_time: int = 0, leaf: str = "c-1") -> Root:
    return Root(session, leaf, Identity(pid, start_time or pid, "boot", pid, pid))


def taken(
    *there: Stat,
    roots: tuple[Root, ...] = (),
    private: tuple[int, ...] = (),
    older: tuple[tuple[int, int], ...] = (),
    **marks: str,
) -> Census:
    """``p200="s-1/c-1"`` marks process 200, ``"s-1"`` as its owner's alone; the daemon and init are always there."""
    table = {one.pid: one for one in (process(1, 0), process(SELF), *there)}
    marked = {int(name[1:]): Mark(Tree(*f"{tree}/".split("/")[:2]), SOCKET) for name, tree in marks.items()}
    return census(table, marked, roots, self=SELF, sockets=frozenset({SOCKET}), private=private, older=older)


def pids(found: Census) -> dict[str, list[int]]:
    return {owner: sorted(one.pid for one in found.of([owner])) for owner in found.members}


def trees(found: Census) -> dict[str, list[int]]:
    named = [Tree(owner, leaf) for owner, leaves in found.members.items() for leaf in leaves]
    return {str(tree): sorted(one.pid for one in found.tree(tree)) for tree in named}


def test_a_child_and_what_descends_from_it() -> None:
    tree = process(200, SELF), process(201, 200, sid=200), process(202, 201), process(203, 202)
    assert pids(taken(*tree, process(300), roots=(root(200),))) == {"s-1": [200, 201, 202, 203]}


def test_each_session_has_its_own() -> None:
    found = taken(process(200, SELF), process(300, SELF), process(301, 300), roots=(root(200), root(300, "s-2")))
    assert pids(found) == {"s-1": [200], "s-2": [300, 301]}


def test_each_child_of_an_owner_has_its_own() -> None:
    """By its record, its mark, its descent, and the session or group that it leads, though all parents are gone."""
    roots = root(200, leaf="c-1"), root(300, leaf="c-2")
    there = process(200, SELF), process(300, SELF), process(301, 300), process(302, SELF, sid=300), process(205)
    found = taken(*there, process(201, SELF, sid=200, pgid=201), roots=roots, p205="s-1/c-1")
    assert trees(found) == {"s-1/c-1": [200, 201, 205], "s-1/c-2": [300, 301, 302]}
    assert pids(found) == {"s-1": [200, 201, 205, 300, 301, 302]}


def test_what_bears_its_owners_mark_alone_is_its_parents_or_the_owners() -> None:
    roots = root(200, leaf="c-1"), root(300, "s-2", leaf="c-2")
    there = process(200, SELF), process(201, 200), process(202, 201), process(300, SELF), process(301, 300)
    found = taken(*there, process(210), process(211, 210), roots=roots, p202="s-1", p210="s-1", p301="s-1")
    assert trees(found) == {"s-1/c-1": [200, 201, 202], "s-2/c-2": [300], "s-1/": [210, 211, 301]}


def test_an_orphan_is_found_by_its_session_and_by_its_group() -> None:
    orphans = process(201, SELF, sid=200, pgid=201), process(202, SELF, sid=150, pgid=200)
    assert pids(taken(process(200, SELF, state="Z"), *orphans, roots=(root(200),))) == {"s-1": [201, 202]}
    assert pids(taken(*orphans, roots=(root(200),))) == {"s-1": [201, 202]}, "also when the child is reaped"


def test_an_orphan_of_an_orphans_session_is_found() -> None:
    """A grandchild that leads a session, known by its mark, and one in that session without a mark."""
    found = taken(process(201, SELF), process(202, SELF, sid=201, pgid=202), p201="s-1")
    assert pids(found) == {"s-1": [201, 202]}


def test_a_double_forked_one_is_found_by_its_mark() -> None:
    assert pids(taken(process(205), p205="s-1")) == {"s-1": [205]}


def test_the_mark_of_another_daemon_is_not_ours() -> None:
    there = {1: process(1, 0), SELF: process(SELF), 205: process(205)}
    found = census(there, {205: Mark(Tree("s-1", "c-1"), "/other")}, (), self=SELF, sockets=frozenset({SOCKET}))
    assert found == ({}, [], True)


def test_a_pid_that_was_given_out_again_proves_nothing() -> None:
    recycled = root(200, start_time=150)
    assert pids(taken(process(200), process(201, 200), process(202, sid=200), roots=(recycled,))) == {}


def test_what_is_older_than_the_child_is_not_in_its_session() -> None:
    assert pids(taken(process(199, sid=200), roots=(root(200),))) == {}


def test_the_dead_are_not_members_and_one_whose_first_thread_ended_is() -> None:
    child = process(200, SELF, state="Z"), process(201, 200, sid=200, state="Z", threads=3)
    assert pids(taken(*child, roots=(root(200),))) == {"s-1": [201]}


def test_a_daemon_that_an_agent_started_is_nobodys_with_all_that_is_its_own() -> None:
    other = process(210, 200, comm=b"roostd"), process(211, 210), process(212, 211, sid=211)
    found = taken(process(200, SELF), *other, roots=(root(200),))
    assert pids(found) == {"s-1": [200]} and found.strays == []
    adopted = other[0]._replace(ppid=SELF), *other[1:]
    assert taken(*adopted) == ({}, [], True), "also when it has come to us as an orphan"


def test_what_only_calls_itself_roostd_in_its_parents_session_is_a_member() -> None:
    assert pids(taken(process(200, SELF), process(201, 200, sid=200, comm=b"roostd"), roots=(root(200),))) == {
        "s-1": [200, 201]
    }


def test_what_calls_itself_roostd_and_is_known_to_be_a_sessions_is_a_member() -> None:
    """A real one has no mark: who starts a roostd cleans its environment."""
    child, grandchild = process(200, SELF, comm=b"roostd"), process(201, SELF, comm=b"roostd")
    assert pids(taken(child, grandchild, process(202, 201), roots=(root(200),), p201="s-1")) == {"s-1": [200, 201, 202]}


def test_children_of_a_dead_daemon_are_ours_also_when_another_daemon_has_taken_them_in() -> None:
    """Ours was started by an agent of that one, and so was the one that is dead."""
    there = process(60, comm=b"roostd"), process(SELF, 60, comm=b"roostd"), process(200, 60), process(201, 60)
    assert pids(taken(*there, roots=(root(200),), p201="s-1")) == {"s-1": [200, 201]}


def test_this_daemon_and_its_ancestors_are_nobodys() -> None:
    """An agent that started this daemon, in a session that a dead daemon left, with a neighbour in it."""
    there = process(90), process(SELF, 90, sid=90), process(95, 90, sid=90)
    table = {one.pid: one for one in (process(1, 0), *there)}
    found = census(table, {}, (root(90),), self=SELF, sockets=frozenset())
    assert pids(found) == {"s-1": [95]}


def test_what_somebody_runs_in_a_log_in_shell_is_spared() -> None:
    shell = process(300, 299), process(301, 300), process(299)
    assert pids(taken(*shell, private=(300,), p299="s-1", p300="s-1", p301="s-1")) == {"s-1": [299]}
    assert pids(taken(*shell, p299="s-1", p301="s-1")) == {"s-1": [299, 300, 301]}


def test_what_is_older_than_the_daemon_is_nobodys_unless_it_is_known() -> None:
    there = process(90, SELF), process(91, 90), process(92, SELF), process(93, SELF), process(94, 90)
    found = taken(*there, older=((90, 90), (92, 5), (93, 93)), p93="s-1", p94="s-1")
    assert pids(found) == {"s-1": [93, 94]}
    assert [one.pid for one in found.strays] == [92], "it was given the pid of an older one"


def test_strays_are_what_came_to_us_without_a_mark() -> None:
    there = process(200, SELF), process(400, SELF), process(401, 400), process(402, SELF, state="Z")
    found = taken(*there, roots=(root(200),))
    assert [one.pid for one in found.strays] == [400, 401]


@pytest.mark.parametrize("depth", [50])
def test_a_deep_tree_is_followed_to_its_end(depth: int) -> None:
    chain = [process(200 + n, 199 + n if n else SELF) for n in range(depth)]
    assert pids(taken(*reversed(chain), roots=(root(200),)))["s-1"] == [one.pid for one in chain]
