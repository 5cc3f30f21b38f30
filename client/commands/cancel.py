"""Cancel a turn, or the one that a session runs (turn.cancel). Asking twice is asking once."""

from ..arguments import Parser
from ..invocation import Invocation
from ..sessions import find
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("known", metavar="S|T", help="a session or a turn")


def run(invocation: Invocation) -> int:
    known: str = invocation.args.known
    session = find(invocation, known)
    if session is None:
        return _cancel(invocation, known)
    if session["turn"] is None:
        invocation.writer.advise(f"{known} runs nothing; `roost queue {known}` lists what waits")
        return OK
    return _cancel(invocation, session["turn"])


def _cancel(invocation: Invocation, turn: str) -> int:
    result = invocation.call("turn.cancel", turn=turn)
    known = result["turn"]["id"]
    if invocation.args.json:
        invocation.writer.record(result)
    else:
        invocation.writer.say(f"{known} {result['outcome']}")
    invocation.writer.advise(_NEXT[result["outcome"]].format(known=known, session=result["turn"]["session"]))
    return OK


_NEXT = {
    "requested": "it ends when its engine has answered; `roost wait {known}` waits for that",
    "cancelled": "it will not run; `roost queue {session}` lists what still waits",
    "ended": "it had ended before; `roost show {known}` tells how",
}
