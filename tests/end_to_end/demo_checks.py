"""What must be so in the demo: each check is a pure comparison of what was seen with what was promised.

``Seen`` holds answers of wire methods, events that came over the socket, exit statuses, and nothing else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Seen = dict[str, Any]
Comparison = Callable[[Seen], tuple[object, object]]


class Check(NamedTuple):
    """Attributes:
    act: the name of the act after which it is made.
    says: the claim, as the story tells it.
    compare: (what was seen, what was promised).
    """

    name: str
    act: str
    says: str
    compare: Comparison


CHECKS: list[Check] = []


def check(act: str, says: str) -> Callable[[Comparison], Comparison]:
    """Register a comparison under its own name."""

    def register(compare: Comparison) -> Comparison:
        CHECKS.append(Check(compare.__name__, act, says, compare))
        return compare

    return register


def output(done: dict[str, Any]) -> str:
    """What the command of a turn, as ``turn.get`` gives it, has printed."""
    return "".join(item["content"] for item in done["items"] if item["kind"] == "command").strip()


def ends(turns: list[dict[str, Any]]) -> list[tuple[str, int | None]]:
    return [(done["turn"]["state"], done["turn"]["exit_code"]) for done in turns]


def ids(turns: list[dict[str, Any]]) -> list[str]:
    return [turn["id"] for turn in turns]


# --- start ---


@check("start", "the process that was started answers, on a socket in that directory")
def daemon_answers(seen: Seen) -> tuple[object, object]:
    status, directory = seen["status"], seen["directory"]
    answer = [status[name] for name in ("phase", "pid", "state_directory", "socket")]
    return answer, ["running", seen["pid"], directory, f"{directory}/run/roost.sock"]


# --- shell ---


@check("shell", "every command ended with exit status 0")
def commands_succeed(seen: Seen) -> tuple[object, object]:
    return ends(seen["commands"]), [("completed", 0)] * seen["asked"]


@check("shell", "the work was real: a count without roost gives the same")
def work_is_real(seen: Seen) -> tuple[object, object]:
    return output(seen["commands"][0]), str(seen["lines"])


@check("shell", "the working directory carries over to the next turn")
def directory_carries_over(seen: Seen) -> tuple[object, object]:
    return output(seen["commands"][2]).splitlines()[0], seen["moved_to"]


@check("shell", "the exported variable carries over to the next turn")
def environment_carries_over(seen: Seen) -> tuple[object, object]:
    return output(seen["commands"][3]), seen["nest"]


# --- thinking ---


@check("thinking", "the history holds every thought, in order")
def thoughts_in_order(seen: Seen) -> tuple[object, object]:
    return [one["thought"] for one in seen["chain"]["state"]["history"]], [one["thought"] for one in seen["thoughts"]]


@check("thinking", "the revision names the thought that it revises")
def revision_is_kept(seen: Seen) -> tuple[object, object]:
    revisions = [one for one in seen["chain"]["state"]["history"] if one.get("is_revision")]
    return [(one["thought_number"], one["revises_thought"]) for one in revisions], [(3, 2)]


@check("thinking", "the branch holds its thoughts, and the history holds them too")
def branch_is_kept(seen: Seen) -> tuple[object, object]:
    state = seen["chain"]["state"]
    branched = [one["thought"] for one in state["history"] if one.get("branch_id") == "numbers"]
    branches = {name: [one["thought"] for one in chain] for name, chain in state["branches"].items()}
    wanted = [one["thought"] for one in seen["thoughts"] if "branch_id" in one]
    return (branches, branched), ({"numbers": wanted}, wanted)


@check("thinking", "a thought numbered beyond the total raises the total")
def total_is_raised(seen: Seen) -> tuple[object, object]:
    last = seen["chain"]["state"]["history"][-1]
    return (last["thought_number"], last["total_thoughts"]), (5, 5)


# --- follow ---


@check("follow", "the second client saw every turn of both sessions begin and end")
def both_are_followed(seen: Seen) -> tuple[object, object]:
    told = [(e["session"], e["turn"], e["kind"]) for e in seen["watched"]]
    of_turns = [one for one in told if one[2] in ("turn.started", "turn.completed")]
    return of_turns, [
        (session, turn, kind) for session, turn in seen["ran"] for kind in ("turn.started", "turn.completed")
    ]


@check("follow", "it missed nothing and saw nothing twice: event by event as stored")
def follower_is_lossless(seen: Seen) -> tuple[object, object]:
    return seen["watched"], _numbered(seen["stored"])


# --- stop ---


@check("stop", "three more turns wait behind the one that runs")
def turns_are_queued(seen: Seen) -> tuple[object, object]:
    running, queued = seen["running"]["turn"], seen["queued"]
    numbers = [running["number"] + ahead for ahead in (1, 2, 3)]
    return (running["state"], _places(queued)), ("running", [("queued", number) for number in numbers])


@check("stop", "roostd ended with exit status 0: no state was lost")
def exit_status_is_0(seen: Seen) -> tuple[object, object]:
    return (seen["exit_status"], seen["report"]["status"]), (0, 0)


@check("stop", "the report: both sessions saved or unchanged, none failed or timed out")
def report_counts_both(seen: Seen) -> tuple[object, object]:
    report = seen["report"]
    lost = " ".join(report["failed"] + report["timed_out"])
    return (report["sessions"], report["saved"] + report["unchanged"], lost), (2, 2, "")


@check("stop", "its one batch is reported as ok")
def batch_is_ok(seen: Seen) -> tuple[object, object]:
    names = ("batches", "batches_ok", "batches_failed", "batches_timed_out")
    return [seen["report"][name] for name in names], [1, 1, 0, 0]


@check("stop", "the report names the turn that was cut off")
def report_names_the_turn(seen: Seen) -> tuple[object, object]:
    return seen["report"]["interrupted"], [seen["running"]["turn"]["id"]]


@check("stop", "the second client was told why its stream ended, not just cut off")
def stream_end_has_a_reason(seen: Seen) -> tuple[object, object]:
    return seen["stream_end"], "shutting_down"


# --- again ---


@check("again", "it is another process on the same state directory")
def process_is_new(seen: Seen) -> tuple[object, object]:
    status = seen["status_again"]
    answer = (status["phase"], status["state_directory"], status["pid"] == seen["pid"])
    return answer, ("running", seen["directory"], False)


@check("again", "the turn is interrupted, and says why")
def turn_is_interrupted(seen: Seen) -> tuple[object, object]:
    turn = seen["cut_off"]["turn"]
    return (turn["id"], turn["state"], turn["reason"]), (
        seen["running"]["turn"]["id"],
        "interrupted",
        "daemon_shutdown",
    )


@check("again", "what it had printed until then is kept")
def output_is_kept(seen: Seen) -> tuple[object, object]:
    commands = [item for item in seen["cut_off"]["items"] if item["kind"] == "command"]
    kept = [item["content"].startswith(seen["printed"]) for item in commands]
    return kept, [True]


@check("again", "the thoughts are all there: history, revision and branch")
def thoughts_are_restored(seen: Seen) -> tuple[object, object]:
    return seen["chain_again"]["state"], seen["chain"]["state"]


@check("again", "the working directory is there")
def directory_is_restored(seen: Seen) -> tuple[object, object]:
    return seen["place_again"]["state"]["cwd"], seen["moved_to"]


@check("again", "the exported variable is there")
def environment_is_restored(seen: Seen) -> tuple[object, object]:
    return seen["place_again"]["state"]["env"].get("NEST"), seen["nest"]


@check("again", "the queue is on hold, and says because of which turn")
def queue_is_held(seen: Seen) -> tuple[object, object]:
    hold: dict[str, Any] = seen["held"]["hold"] or {}
    return (hold.get("reason"), hold.get("turn")), ("interrupted", seen["running"]["turn"]["id"])


@check("again", "the same three turns wait in the same order, and none has run")
def queue_is_whole(seen: Seen) -> tuple[object, object]:
    return (ids(seen["queued_again"]), _places(seen["queued_again"])), (ids(seen["queued"]), _places(seen["queued"]))


# --- release ---


@check("release", "three turns were released, and nothing is on hold")
def queue_is_released(seen: Seen) -> tuple[object, object]:
    return (seen["released"]["released"], seen["settled"]["hold"], seen["settled"]["queued"]), (3, None, 0)


@check("release", "they ran to their end, one after another, in their order")
def queue_runs_in_order(seen: Seen) -> tuple[object, object]:
    queue = ids(seen["queued"])
    told = [(e["turn"], e["kind"]) for e in seen["second_life"] if e["turn"] in queue]
    of_turns = [one for one in told if one[1] in ("turn.started", "turn.completed")]
    return of_turns, [(turn, kind) for turn in queue for kind in ("turn.started", "turn.completed")]


@check("release", "they ran in the restored directory, with the restored variable")
def queue_uses_what_was_restored(seen: Seen) -> tuple[object, object]:
    return [output(done) for done in seen["freed"]], [seen["moved_to"], seen["nest"], str(seen["files"])]


@check("release", "the chain of thoughts goes on where it was")
def chain_goes_on(seen: Seen) -> tuple[object, object]:
    before, after = seen["chain"]["state"]["history"], seen["chain_after"]["state"]["history"]
    return (after[:-1], after[-1]["thought"]), (before, seen["last_thought"])


# --- end ---


@check("end", "the second client has every event of both lives, once, in order")
def whole_story_is_lossless(seen: Seen) -> tuple[object, object]:
    return seen["first_life"] + seen["second_life"], _numbered(seen["stored_again"])


@check("end", "within each session the numbers have no gap")
def sessions_have_no_gap(seen: Seen) -> tuple[object, object]:
    events = seen["first_life"] + seen["second_life"]
    numbers = [
        [event["seq"] for event in events if event["session"] == session and event["seq"] <= last]
        for session, last in seen["sessions"].items()
    ]
    return numbers, [list(range(1, last + 1)) for last in seen["sessions"].values()]


@check("end", "roostd ended with exit status 0 again")
def last_exit_status_is_0(seen: Seen) -> tuple[object, object]:
    return seen["last_exit_status"], 0


def _places(queued: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(turn["state"], turn["number"]) for turn in queued]


def _numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events if the store numbered them 1, 2, 3, …; otherwise what no follower can have seen."""
    return [event | {"offset": offset} for offset, event in enumerate(events, start=1)]
