"""docs/deadlines.md lists every wait of the daemon with what bounds it: no line is missing, and none is too many.

A wait is each ``await``, ``async with`` and ``async for`` of something that is not a coroutine of the daemon itself:
those are listed by what stands in them. A nursery waits for its tasks, whose waits are listed too. A name that Trio has
as well counts as Trio's: so ``event.wait()`` is a wait, although ``Child.wait`` is a coroutine of the daemon. And so is
each call that holds its thread until somebody else does something.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trio
import trio.socket

from roost.daemon.settings import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deadlines.md"
NURSERY = "trio.open_nursery()"
Waiting = ast.Await | ast.AsyncFor | ast.AsyncWith


class Wait(NamedTuple):
    """``place``: file, class and function; ``on``: the expression."""

    place: str
    on: str


@cache
def sources() -> dict[str, ast.Module]:
    """By path below the daemon's folder."""
    folder = ROOT / "daemon"
    return {path.relative_to(folder).as_posix(): ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}


@cache
def own() -> frozenset[str]:
    """The names of the daemon's coroutines, less those that are Trio's too."""
    nodes = [node for tree in sources().values() for node in ast.walk(tree)]
    return frozenset(node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef)) - foreign()


def foreign() -> frozenset[str]:
    """Every coroutine of Trio, and of its classes."""
    names: set[str] = set()
    for module in (trio, trio.abc, trio.lowlevel, trio.to_thread, trio.socket):
        for name, thing in vars(module).items():
            names |= {name} if inspect.iscoroutinefunction(thing) else set()
            if inspect.isclass(thing):
                names |= {name for name, member in inspect.getmembers(thing) if inspect.iscoroutinefunction(member)}
    return frozenset(names)


def waits(files: dict[str, ast.Module] | None = None) -> Iterator[Wait]:
    for path, tree in (files or sources()).items():
        yield from _in(tree, path, ())


def _in(node: ast.AST, path: str, names: tuple[str, ...]) -> Iterator[Wait]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = (*names, node.name)
    place = f"{path} {'.'.join(names)}"
    awaited = _awaited(node) if isinstance(node, Waiting) else []
    for on in awaited:
        if not _listed_by_itself(on):
            yield Wait(place, shown(on))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and child not in awaited and _holds_its_thread(child):
            yield Wait(place, shown(child))
        yield from _in(child, path, names)


HOLDING = {"waitpid", "waitid", "poll", "select", "flock", "acquire", "wait"}


def _holds_its_thread(call: ast.Call) -> bool:
    """``get`` of a queue has no argument, ``join`` of a thread none but a number of seconds."""
    function = ast.unparse(call.func)
    if function == "select.poll" or "'" in function:  # it makes one; it joins texts
        return False
    name = function.rpartition(".")[2]
    alone = not call.keywords and all(isinstance(arg, ast.Name) and arg.id.isupper() for arg in call.args)
    return name in HOLDING or (name in ("get", "join") and alone) or function == "subprocess.run"


def _awaited(node: Waiting) -> list[ast.expr]:
    if isinstance(node, ast.AsyncWith):
        return [item.context_expr for item in node.items]
    return [node.iter if isinstance(node, ast.AsyncFor) else node.value]


def _listed_by_itself(on: ast.expr) -> bool:
    if ast.unparse(on) == NURSERY:
        return True
    if not isinstance(on, ast.Call):
        return False
    name = on.func.attr if isinstance(on.func, ast.Attribute) else ast.unparse(on.func)
    return name in own()


def shown(on: ast.expr) -> str:
    """What is awaited, without its arguments."""
    return ast.unparse(on.func) + "()" if isinstance(on, ast.Call) else ast.unparse(on)


ROW = re.compile(r"^\| `(?P<place>[^`]+)` \| `(?P<on>[^`]+)` \| (?P<rest>.+) \|$", re.MULTILINE)


def rows() -> list[tuple[Wait, list[str]]]:
    return [
        (Wait(row["place"], row["on"]), [cell.strip() for cell in row["rest"].split(" | ")])
        for row in ROW.finditer(PAGE.read_text())
    ]


def test_every_wait_has_a_line_and_every_line_a_wait() -> None:
    there, listed = set(waits()), [wait for wait, _ in rows()]
    assert len(listed) == len(set(listed)), "a wait stands in the page once"
    assert sorted(there - set(listed)) == [], "say in docs/deadlines.md what bounds these"
    assert sorted(set(listed) - there) == [], "these are no more: take them out of docs/deadlines.md"


NEW = """
class Child:
    async def end(self, fn, stream, event, thing):
        await event.wait()
        await self.pipe.receive_some(10)
        await trio.to_thread.run_sync(fn)
        await fn()
        await thing
        async with self.lock:
            async for message in self.channel:
                await self.sub.write(message)
        async with trio.open_nursery() as nursery:
            await nursery.start(fn)
        return [await one.aclose() for one in stream]

    def hold(self):
        self.jobs.get()
        self.thread.join(SECONDS)
        ", ".join(self.jobs.get("name"))
"""


def test_whatever_is_awaited_is_seen() -> None:
    """Only coroutines of the daemon by their own names, here ``write``, and nurseries are listed by what is in them."""
    found = [wait.on for wait in waits({"new.py": ast.parse(NEW)}) if wait.place.startswith("new.py Child.")]
    one_by_one = "event.wait() self.pipe.receive_some() trio.to_thread.run_sync() fn() thing self.lock self.channel"
    assert found == [*one_by_one.split(), "nursery.start()", "one.aclose()", "self.jobs.get()", "self.thread.join()"]


BOUNDS = r"\d|its purpose|at once|as (that|these|what|above)|caller|client's|turn's|memory of|Watchdog"


def test_every_line_says_what_bounds_it_and_what_then() -> None:
    for wait, cells in rows():
        assert len(cells) == 3 and all(cells), wait
        bounded = re.search(BOUNDS, cells[1])
        assert bounded, f"{wait}: {cells[1]!r} is no bound"


CONSTANT = re.compile(r"`(?P<file>[\w/]+\.py) (?P<name>[A-Z_]+)` (?P<value>[\d.]+)")
SETTING = re.compile(r"`(?P<section>[a-z]+)\.(?P<key>[a-z_]+)` (?P<value>[\d.]+)")


def test_the_seconds_are_those_of_the_sources(tmp_path: Path) -> None:
    page = PAGE.read_text()
    constants = {(m["file"], m["name"]): float(m["value"]) for m in CONSTANT.finditer(page)}
    assert len(constants) > 20
    assert {key: _constant(*key) for key in constants} == constants
    settings = {(m["section"], m["key"]): float(m["value"]) for m in SETTING.finditer(page)}
    defaults = load({"HOME": str(tmp_path), "ROOST_STATE_DIRECTORY": str(tmp_path)})
    assert len(settings) > 8
    assert {(s, k): float(getattr(getattr(defaults, s), k)) for s, k in settings} == settings
    assert all(CONSTANT.match(named) for named in re.findall(r"`\S+\.py [A-Z_]+`.{0,8}", page)), "each with its value"


def _constant(path: str, name: str) -> float:
    for node in sources()[path].body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            pairs = (
                zip(target.elts, node.value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(target, node.value)]
            )
            for one, value in pairs:
                if ast.unparse(one) == name:
                    return float(ast.literal_eval(value))
    raise AssertionError(f"{path} has no {name}")
