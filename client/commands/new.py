"""Make a session and print its id (session.create). No child is started before the first prompt."""

from .. import limits
from ..arguments import Parser, add_creation
from ..creation import create
from ..invocation import Invocation
from ..status import OK


def arguments(parser: Parser) -> None:
    add_creation(parser)
    limits.add(parser)


def run(invocation: Invocation) -> int:
    session = create(invocation)
    if invocation.args.json:
        invocation.writer.record(session)
    else:
        invocation.writer.say(session["id"])
    known = session["name"] or session["id"]
    invocation.writer.advise(f"work in it with `roost attach {known}`, or `roost send {known} PROMPT`")
    return OK
