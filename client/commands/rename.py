"""Name a session (session.update)."""

from ..arguments import Parser
from ..invocation import Invocation
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    parser.add_argument("name", metavar="NAME", help="its new name: letters, digits, and . _ -")


def run(invocation: Invocation) -> int:
    session = invocation.call("session.update", session=invocation.args.session, name=invocation.args.name)["session"]
    if invocation.writer.json:
        invocation.writer.record(session)
    invocation.writer.advise(f"{session['id']} is {session['name']} now")
    return OK
