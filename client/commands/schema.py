"""Print the protocol as an OpenRPC document with JSON Schemas (as rpc.discover gives it; no daemon is asked)."""

from ..arguments import Parser
from ..invocation import Invocation
from ..render import json_text
from ..status import OK


def arguments(parser: Parser) -> None:
    pass


def run(invocation: Invocation) -> int:
    from ...protocol.openrpc import document

    invocation.writer.say(json_text(document(), indent=None if invocation.args.json else 2))
    return OK
