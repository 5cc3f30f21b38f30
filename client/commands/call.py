"""Call any method of the protocol and print its result as JSON; bytes are shown as text, or as base64.

After events.subscribe, the events follow, each as a line.
"""

import json
import sys
from typing import Any

from ...protocol.errors import InvalidParams
from ..arguments import Parser
from ..follow import Ended, Follower, Happened, Interrupted
from ..invocation import Invocation
from ..render import json_text
from ..status import INTERRUPTED, OK


def arguments(parser: Parser) -> None:
    parser.add_argument("method", metavar="METHOD", help="noun.verb; `roost schema` lists them")
    parser.add_argument("params", metavar="JSON", nargs="?", default="{}", help="a JSON object; - reads it from stdin")


def run(invocation: Invocation) -> int:
    args = invocation.args
    result = invocation.daemon.call(args.method, _params(args.params), timeout=None)
    if args.method != "events.subscribe":
        invocation.writer.say(json_text(result, indent=None if args.json else 2))
        return OK
    invocation.writer.record(result)
    return _events(invocation)


def _params(text: str) -> dict[str, Any]:
    try:
        params = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as exc:
        raise InvalidParams(f"the params are not JSON: {exc}") from exc
    except RecursionError as exc:
        raise InvalidParams("the params are nested too deep to be read; send flatter data") from exc
    if not isinstance(params, dict):
        raise InvalidParams('the params must be a JSON object: {"session": "…"}')
    return params  # pyright: ignore[reportUnknownVariableType]


def _events(invocation: Invocation) -> int:
    with Follower(invocation.daemon, invocation.writer.flush) as follower:
        for happening in follower:
            match happening:
                case Happened(event):
                    invocation.writer.record(event)
                case Ended(reason, message, after):
                    invocation.writer.record({"reason": reason, "message": message, "after": after})
                    return OK
                case Interrupted():
                    return INTERRUPTED
                case _:
                    pass
    return OK
