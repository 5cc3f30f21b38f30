"""What the demo does, act by act: ``play`` fills in what was seen, ``tell`` shows it."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from .demo_checks import Seen, ids, output
from .demo_screen import Screen
from .demo_stage import WAIT_MS, Stage

CHECKOUT = Path(__file__).resolve().parents[2]
NEST = "warm and dry"
COMMANDS = (
    "cat protocol/*.py | wc -l",
    f"cd worker && export NEST='{NEST}'",
    'pwd; python -m compileall -qf . && echo "all $(ls *.py | wc -l) compile"',
    'echo "$NEST"',
)
ENDLESS = 'while echo "still at it"; do sleep 0.1; done'
QUEUE = ("pwd", 'echo "$NEST"', "ls *.py | wc -l")


def thought(text: str, number: int, **more: Any) -> dict[str, Any]:
    """One thought of a chain that was planned to have three."""
    return {"thought": text, "thought_number": number, "total_thoughts": 3, "next_thought_needed": True, **more}


THOUGHTS = (
    thought("A reader that is slow must not lose an event.", 1),
    thought("So its events wait for it in memory.", 2),
    thought("No: memory is finite. They wait on disk.", 3, is_revision=True, revises_thought=2),
    thought("Or it counts: give each event a number.", 4, branch_from_thought=2, branch_id="numbers"),
    thought(
        "Then it asks again from its last number on.",
        5,
        branch_from_thought=2,
        branch_id="numbers",
        next_thought_needed=False,
    ),
)
LAST_THOUGHT = "Both: numbered, and on disk."


class Act(NamedTuple):
    name: str
    title: str
    play: Callable[[Stage, Seen], Awaitable[None]]
    tell: Callable[[Seen, Screen], None]


# --- a daemon ---


async def play_start(stage: Stage, seen: Seen) -> None:
    seen["directory"] = str(stage.directory)
    seen["pid"] = await stage.start()
    seen["status"] = await stage.call("daemon.status")


def tell_start(seen: Seen, screen: Screen) -> None:
    status = seen["status"]
    screen.says(f"roostd {status['version']}, pid {status['pid']}, on {status['socket']}")


# --- real commands ---


async def play_shell(stage: Stage, seen: Seen) -> None:
    seen["shell"] = session = await create(stage, "shell", "work")
    seen["commands"] = [await stage.run(session, command) for command in COMMANDS]
    seen["asked"], seen["nest"], seen["moved_to"] = len(COMMANDS), NEST, str(CHECKOUT / "worker")
    seen["lines"] = sum(path.read_bytes().count(b"\n") for path in (CHECKOUT / "protocol").glob("*.py"))


def tell_shell(seen: Seen, screen: Screen) -> None:
    screen.says(f"session 'work' ({seen['shell']}), engine shell, in {CHECKOUT}")
    tell_commands(seen["commands"], screen)


# --- thoughts ---


async def play_thinking(stage: Stage, seen: Seen) -> None:
    seen["thinking"] = session = await create(stage, "thinking", "plan")
    seen["thoughts"] = list(THOUGHTS)
    seen["thinking_turns"] = [await stage.run(session, json.dumps(one)) for one in THOUGHTS]
    seen["chain"] = await stage.call("session.state", session=session)


def tell_thinking(seen: Seen, screen: Screen) -> None:
    screen.says(f"session 'plan' ({seen['thinking']}), engine thinking")
    tell_chain(seen["chain"], screen)


# --- the second client ---


async def play_follow(stage: Stage, seen: Seen) -> None:
    turns = [done["turn"] for done in seen["commands"] + seen["thinking_turns"]]
    seen["ran"] = [[turn["session"], turn["id"]] for turn in turns]
    seen["stored"] = await stage.read_events()
    seen["watched"] = await followed_up_to(stage, seen["stored"])


def tell_follow(seen: Seen, screen: Screen) -> None:
    watched = seen["watched"]
    counts = [sum(event["session"] == seen[name] for event in watched) for name in ("shell", "thinking")]
    screen.says(f"subscribed to all before there was a session, it received {len(watched)} events:")
    screen.says(f"{counts[0]} of 'work', {counts[1]} of 'plan', the rest the daemon's own")


# --- the stop ---


async def play_stop(stage: Stage, seen: Seen) -> None:
    session = seen["shell"]
    turn = (await stage.call("turn.send", session=session, input=ENDLESS))["turn"]["id"]
    for prompt in QUEUE:
        await stage.call("turn.send", session=session, input=prompt)
    await stage.wait_followed("three lines of the turn", lambda events: said(events, turn).count("\n") >= 3)
    seen["printed"] = said(stage.followed, turn)
    seen["running"] = await stage.call("turn.get", turn=turn)
    seen["queued"] = await queued(stage, session)
    seen["exit_status"] = await stage.stop()
    await stage.wait_followed("the end of its stream", lambda _: stage.stream_end != "")
    seen["first_life"], seen["stream_end"] = stage.followed, stage.stream_end
    reports = [event["data"] for event in stage.followed if event["kind"] == "daemon.stopped"]
    seen["report"] = reports[-1] if reports else {}


def tell_stop(seen: Seen, screen: Screen) -> None:
    screen.prompt(ENDLESS)
    screen.output(seen["printed"])
    for prompt in QUEUE:
        screen.says(f"queued: {prompt}")
    screen.prompt(f"kill -TERM {seen['pid']}")
    for line in report_lines(seen["report"]):
        screen.output(line)


def report_lines(report: dict[str, Any]) -> list[str]:
    """The checkpoint report, as a person reads it."""
    lost = report["failed"] + report["timed_out"]
    return [
        f"stopped ({report['reason']}) after {report['duration']} ms: {report['sessions']} sessions, "
        f"{report['saved']} saved, {report['unchanged']} unchanged",
        f"batches: {report['batches_ok']} ok, {report['batches_failed']} failed, "
        f"{report['batches_timed_out']} timed out; states lost: {' '.join(lost) or 'none'}",
        f"turns interrupted: {' '.join(report['interrupted'])}",
    ]


# --- the same again ---


async def play_again(stage: Stage, seen: Seen) -> None:
    session = seen["shell"]
    await stage.start(after=seen["first_life"][-1]["offset"])
    seen["status_again"] = await stage.call("daemon.status")
    seen["cut_off"] = await stage.call("turn.get", turn=seen["running"]["turn"]["id"])
    seen["chain_again"] = await stage.call("session.state", session=seen["thinking"])
    seen["place_again"] = await stage.call("session.state", session=session)
    seen["held"] = (await stage.call("session.get", session=session))["session"]
    seen["queued_again"] = await queued(stage, session)


def tell_again(seen: Seen, screen: Screen) -> None:
    turn, place, held = seen["cut_off"]["turn"], seen["place_again"]["state"], seen["held"]
    screen.says(f"roostd, now pid {seen['status_again']['pid']}; the turn that ran when the stop came:")
    screen.prompt(turn["input"])
    screen.output(output(seen["cut_off"]))
    screen.says(f"{turn['id']} {turn['state']} ({turn['reason']}) after {turn['duration']} ms")
    tell_chain(seen["chain_again"], screen)
    screen.says(f"'work' is in {place['cwd']}, with NEST='{place['env'].get('NEST')}'")
    screen.says(f"'work' is on hold ({held['hold']['reason']}) with {held['queued']} turns queued")


# --- the queue goes on ---


async def play_release(stage: Stage, seen: Seen) -> None:
    session, queue = seen["shell"], ids(seen["queued"])
    seen["files"] = len(list((CHECKOUT / "worker").glob("*.py")))
    seen["released"] = await stage.call("session.release", session=session)
    seen["settled"] = (await stage.call("session.wait", session=session, timeout=WAIT_MS))["session"]
    seen["freed"] = [await stage.call("turn.get", turn=turn) for turn in queue]
    seen["last_thought"] = LAST_THOUGHT
    await stage.run(seen["thinking"], LAST_THOUGHT)
    seen["chain_after"] = await stage.call("session.state", session=seen["thinking"])
    seen["second_life"] = await followed_up_to(stage, await stage.read_events())


def tell_release(seen: Seen, screen: Screen) -> None:
    screen.says(f"'work' is released with {seen['released']['released']} turns queued")
    tell_commands(seen["freed"], screen)
    tell_chain({"state": {"history": seen["chain_after"]["state"]["history"][-1:]}}, screen)


# --- the end ---


async def play_end(stage: Stage, seen: Seen) -> None:
    sessions = [(await stage.call("session.get", session=seen[name]))["session"] for name in ("shell", "thinking")]
    seen["sessions"] = {session["id"]: session["seq"] for session in sessions}
    seen["stored_again"] = await stage.read_events()
    seen["second_life"] = await followed_up_to(stage, seen["stored_again"])
    seen["last_exit_status"] = await stage.stop()


def tell_end(seen: Seen, screen: Screen) -> None:
    screen.says(f"{len(seen['first_life'])} events in the first life, {len(seen['second_life'])} in the second")


ACTS = (
    Act("start", "A daemon starts in an empty state directory", play_start, tell_start),
    Act("shell", "A shell session does real work in this checkout", play_shell, tell_shell),
    Act("thinking", "A thinking session holds a chain, a revision and a branch", play_thinking, tell_thinking),
    Act("follow", "A second client followed both", play_follow, tell_follow),
    Act("stop", "More turns are queued, and SIGTERM comes in the middle of one", play_stop, tell_stop),
    Act("again", "Started again, it tells the truth", play_again, tell_again),
    Act("release", "The queue is released and runs to its end", play_release, tell_release),
    Act("end", "Nothing was lost on the way", play_end, tell_end),
)


# --- what several acts do ---


async def create(stage: Stage, engine: str, name: str) -> str:
    """A session in the checkout; its id."""
    env = {
        # The Python that runs the demo, and no compiled files left in the checkout.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPYCACHEPREFIX": str(stage.directory / "compiled"),
    }
    made = await stage.call("session.create", engine=engine, name=name, workspace=str(CHECKOUT), env=env)
    return str(made["session"]["id"])


async def queued(stage: Stage, session: str) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = (await stage.call("turn.list", session=session, state="queued"))["turns"]
    return turns


async def followed_up_to(stage: Stage, stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the second client received, once it has got as far as the last of ``stored``."""
    last = stored[-1]["offset"]
    await stage.wait_followed(f"event {last}", lambda events: bool(events) and events[-1]["offset"] >= last)
    return [event for event in stage.followed if event["offset"] <= last]


def said(events: list[dict[str, Any]], turn: str) -> str:
    """The text that was streamed from a turn."""
    deltas = [event for event in events if event["turn"] == turn and event["kind"] == "item.delta"]
    return "".join(event["data"]["text"] for event in deltas)


def tell_commands(turns: list[dict[str, Any]], screen: Screen) -> None:
    for done in turns:
        screen.prompt(done["turn"]["input"])
        screen.output(output(done))


def tell_chain(chain: dict[str, Any], screen: Screen) -> None:
    """A chain of thoughts, with its revisions and branches marked."""
    for one in chain["state"]["history"]:
        mark = f"{one['thought_number']}/{one['total_thoughts']}"
        if one.get("is_revision"):
            mark += f" revises {one['revises_thought']}"
        if "branch_id" in one:
            mark += f" branch '{one['branch_id']}' from {one['branch_from_thought']}"
        screen.output(f"{mark}: {one['thought']}")
