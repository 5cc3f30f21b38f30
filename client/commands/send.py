"""Queue a prompt in a session and print its turn's id (turn.send)."""

from ..arguments import Parser, add_limits, add_prompt
from ..invocation import Invocation, Record
from ..parked import outlook
from ..prompt import read
from ..status import OK
from ..stream import stream


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    add_prompt(parser)
    add_limits(parser)
    parser.add_argument("-w", "--wait", action="store_true", help="show what comes and exit with its status")
    parser.add_argument("--retry", metavar="T", help="send the prompt of this turn again")


def run(invocation: Invocation) -> int:
    args = invocation.args
    retried = invocation.call("turn.get", turn=args.retry)["turn"] if args.retry else None
    session = invocation.call("session.get", session=args.session)["session"]
    again = retried if not (args.prompt or args.file) else None
    prompt: str = again["input"] if again else read(args.prompt, args.file, invocation.environ)
    sending: Record = {
        "input": prompt,
        "timeout": args.timeout,
        "idle_timeout": args.idle_timeout,
        "retry_of": retried and retried["id"],
    }
    if args.wait:
        return stream(invocation, session, **sending) or OK
    sent = invocation.call("turn.send", session=session["id"], **sending)
    if args.json:
        invocation.writer.record(sent)
    else:
        invocation.writer.say(sent["turn"]["id"])
    invocation.writer.advise(outlook(sent, session))
    return OK
