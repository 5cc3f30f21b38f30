"""Show or change what a session's processes may use (session.get, session.update). Its next child has the new limits.

`none` takes a limit away; then its engine's holds, if that has one.
"""

from .. import limits
from ..arguments import Parser
from ..invocation import Invocation
from ..render import fields, session_limits
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    limits.add(parser, clearable=True)


def run(invocation: Invocation) -> int:
    session = invocation.call("session.get", session=invocation.args.session)["session"]
    if changes := limits.given(invocation.args):
        new = session.get("limits", {}) | {
            name: None if value == limits.NONE else value for name, value in changes.items()
        }
        session = invocation.call("session.update", session=session["id"], limits=new)["session"]
    if invocation.writer.json:
        invocation.writer.record(session)
    else:
        invocation.writer.write(fields([("limits", session_limits(session) or "none of its own")]))
    if changes and session["pid"]:
        invocation.writer.advise(f"its child goes on as it is; for the new limits now, `roost stop {session['id']}`")
    return OK
