"""What the verbs that change sessions share: ask for each, print what became of it, say what to do next."""

from __future__ import annotations

from ..protocol.errors import SessionNotFound, from_wire
from .invocation import Invocation, Record
from .status import FAILED, OK

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

PATIENCE_SECONDS = 600.0
"""For what waits on a child: a start, a stop, a checkpoint. The daemon's own limits are shorter."""


def change(invocation: Invocation, method: str, advice: str, names: list[str] | None = None, **params: Any) -> int:
    """Ask ``method`` of every session that was named, and show each. ``{known}`` in ``advice`` is the session.

    Exit status 1 if the state of one was lost.
    """
    lost: list[str] = []

    def done(result: Record) -> None:
        session = result["session"]
        if invocation.writer.json:
            invocation.writer.record(session)
        elif not invocation.writer.quiet:
            invocation.writer.say(f"{session['id']} {'archived' if session['archived'] else session['state']}")
        if unsaved := result.get("unsaved"):
            lost.append(session["id"])
            text = f"the state of {session['id']} could not be saved and is lost: {unsaved['message']}"
            invocation.writer.error(from_wire({**unsaved, "message": text}))
        invocation.writer.advise(advice.format(known=session["name"] or session["id"]))

    asked = invocation.args.sessions if names is None else names
    status = invocation.each(asked, method, PATIENCE_SECONDS, done, **params)
    return status or (FAILED if lost else OK)


def find(invocation: Invocation, known: str) -> Record | None:
    """The session called ``known``; None if there is none and it may be a turn.

    Raises:
        SessionNotFound: neither a session nor the start of a turn's id.
    """
    try:
        session: Record = invocation.call("session.get", session=known)["session"]
    except SessionNotFound:
        if known.startswith("t-"):
            return None
        raise
    return session
