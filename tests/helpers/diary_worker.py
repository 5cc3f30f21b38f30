"""A worker that writes down what it meets, a line each: the requests by their names, ``EOF``, ``SIGTERM``.

Arguments: the file it writes to; its answer to ``shutdown`` (``yes``, ``silence``, ``rubbish``, or the name of an
error; ``mute``: it does not answer ``initialize`` either); the step by which it ends, after it has written it down.
"""

import os
import signal
import sys
from types import FrameType

from roost.protocol import rpc
from roost.protocol.errors import ERRORS

FILE, ANSWER, LAST = sys.argv[1:]


def meet(step: str) -> None:
    with open(FILE, "a") as diary:
        diary.write(f"{step}\n")
    if step == LAST:
        os._exit(0)


def meet_sigterm(number: int, frame: FrameType | None) -> None:
    meet("SIGTERM")


def answer(request: rpc.Request) -> bytes:
    if request.method == "initialize":
        return b"" if ANSWER == "mute" else rpc.response(request.msgid, {"protocol": 1, "capabilities": []})
    match ANSWER:
        case "yes":
            return rpc.response(request.msgid, {})
        case "rubbish":
            return b"\xc1"
        case "silence":
            return b""
        case name:
            return rpc.failure(request.msgid, ERRORS[name]("this worker does not end when it is asked"))


def main() -> None:
    signal.signal(signal.SIGTERM, meet_sigterm)
    wire = rpc.Connection()
    while data := os.read(0, 65536):
        for message in wire.receive(data):
            if isinstance(message, rpc.Request):
                wire.answered(message.msgid)
                os.write(1, answer(message))
                meet(message.method)
    meet("EOF")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
