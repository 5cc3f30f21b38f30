"""What keeps a session's prompts from running though nothing runs, and what to do: it is on hold, or it has failed."""

from __future__ import annotations

from ..protocol.errors import TimedOut
from .invocation import Invocation, Record
from .render import clean, short

_SETTLING = 1000
"""Milliseconds in which a prompt that wanted the start that failed fails with it."""


def held(reason: str, known: str) -> str:
    """That the session, as the person knows it, is on hold."""
    return f"on hold ({clean(reason)}): `roost release {known}` lets the queue go on"


def failed(why: str, known: str) -> str:
    """That it has failed."""
    return f"failed ({why}): it is tried again later by itself, and at once by `roost start {known}`"


def failure(session: Record) -> str:
    """Why a session has failed; empty if it has not."""
    return _why(session["failure"]) if session["state"] == "failed" else ""


def failure_after(event: Record, before: str) -> str:
    """The same after ``event`` of the session."""
    if event["kind"] != "session.state_changed":
        return before
    return _why(event["data"].get("problem")) if event["data"]["new"] == "failed" else ""


def _why(problem: Record | None) -> str:
    return short(problem["message"], 200) if problem else "its child ended too often"


def outlook(sent: Record, session: Record) -> str:
    """When a prompt runs, of which ``sent`` is the result of turn.send, and what to do next."""
    known = session["name"] or session["id"]
    obstacles = [held(sent["held"], known)] if sent["held"] else []
    if why := failure(session):
        obstacles.append(failed(why, known))
    wait = f"after {sent['ahead']} before it" if sent["ahead"] else "now"
    runs = f"it runs {wait}; see it with `roost attach {known}`, wait with `roost wait {sent['turn']['id']}`"
    return "; ".join(obstacles) or runs


def stays(invocation: Invocation, turn: str) -> bool:
    """Whether a queued turn of a session that has failed goes on waiting."""
    try:
        invocation.call("turn.wait", turn=turn, timeout=_SETTLING)
    except TimedOut:
        return True
    return False
