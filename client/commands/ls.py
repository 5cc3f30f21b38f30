"""List sessions, oldest first (session.list): state, queue, hold, what was interrupted, age, workspace."""

from ..arguments import Parser
from ..invocation import Invocation, now
from ..render import sessions
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="archived ones too")


def run(invocation: Invocation) -> int:
    found = list(invocation.pages("session.list", "sessions"))
    if invocation.args.all:
        found += invocation.pages("session.list", "sessions", archived=True)
    writer = invocation.writer
    if writer.json:
        for session in found:
            writer.record(session)
    elif writer.quiet:
        for session in found:
            writer.say(session["id"])
    elif found:
        writer.table(sessions(found, now()))
    else:
        writer.advise('there is no session; `roost run "make test"` makes one')
    return OK
