"""Send a prompt to a new session, show what comes and exit with its status (session.create, turn.send).

Ctrl-C once cancels the turn, twice leaves it running, and so does Ctrl-D. Exit status: 0 completed or left by Ctrl-D,
1 failed, 3 timed out, 6 cancelled or interrupted, 8 on hold or the session has failed.
"""

from ...protocol.errors import InvalidParams
from .. import limits
from ..arguments import Parser, add_creation, add_limits, add_prompt
from ..creation import create
from ..invocation import Invocation, Record
from ..parked import outlook
from ..prompt import read
from ..status import INTERRUPTED, OK
from ..stream import stream


def arguments(parser: Parser) -> None:
    add_prompt(parser)
    add_creation(parser)
    add_limits(parser)
    limits.add(parser)
    parser.add_argument("-s", "--session", metavar="S", help="use this session instead of a new one")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait: print the session's id")


def run(invocation: Invocation) -> int:
    args = invocation.args
    own = args.engine or args.directory or args.name or args.env or args.after or limits.given(args)
    if args.session and own:
        what = "-e, -C, --name, --env, --after and limits are for a new one"
        raise InvalidParams(f"-s names a session that exists; {what}")
    prompt = read(args.prompt, args.file, invocation.environ)
    invocation.daemon.check("turn.send", {"input": prompt})  # else a refused prompt leaves an empty session
    if args.session:
        session = invocation.call("session.get", session=args.session)["session"]
    else:
        session = create(invocation)
    sending: Record = {"input": prompt, "timeout": args.timeout, "idle_timeout": args.idle_timeout}
    if not args.detach:
        status = stream(invocation, session, **sending)
        if invocation.writer.err_terminal and not args.session and status not in (None, INTERRUPTED):
            invocation.writer.advise(f"go on in it with `roost attach {session['name'] or session['id']}`")
        return status or OK
    sent = invocation.call("turn.send", session=session["id"], **sending)
    if args.json:
        invocation.writer.record({"session": session["id"], "turn": sent["turn"]["id"]})
    else:
        invocation.writer.say(session["id"])
    invocation.writer.advise(outlook(sent, session))
    return OK
