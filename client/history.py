"""Where to begin in a session's past, and what its turns were asked."""

from itertools import islice

from .invocation import Invocation, Record

_PAGE = 1000
_PROMPTS = 100


def after_last(invocation: Invocation, session: Record | None, turns: int) -> int:
    """The event behind which the last ``turns`` turns of the session begin, or of all sessions (None)."""
    if session and turns == 0:
        return int(session["seq"])
    feed, cursor = ({"session": session["id"]}, "seq") if session else ({"all": True}, "offset")
    begun: list[int] = []
    after, more = 0, True
    while more:
        page = invocation.call("events.read", **feed, kinds=["turn.started"], after=after, limit=_PAGE)
        begun += [event[cursor] for event in page["events"] if event["kind"] == "turn.started"]
        after, more = page["next"], page["more"]
    if turns == 0:
        return after
    return begun[-turns] - 1 if len(begun) >= turns else 0


def prompts(invocation: Invocation, session: str) -> dict[str, str]:
    """The prompts of the session's newest turns, by turn."""
    newest = invocation.pages("turn.list", "turns", session=session, newest=True, limit=_PROMPTS)
    return {turn["id"]: turn["input"] for turn in islice(newest, _PROMPTS)}
