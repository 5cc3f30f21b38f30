"""A worker that misbehaves on request. It speaks the worker protocol by itself, without the SDK.

Its first argument says how it starts: ``well``, ``rubbish``, ``exit``, ``mute``, ``old`` (another protocol version),
``refuses NAME DEPTH`` (initialize is answered with that error, with data nested so deep), ``lazy`` (it has no
checkpoint and no clear), ``stubborn`` (it hears neither shutdown nor SIGTERM). A prompt says what it does in a turn;
its state is the list of prompts seen. Hundreds are started, so ``signal`` is imported only where it is needed, and
``typing`` nowhere.
"""

from __future__ import annotations

import os
import sys
import time

from roost.protocol import rpc
from roost.protocol.errors import ERRORS
from roost.protocol.worker import MOST_DATA, MOST_FAILURE

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else None


class Odd:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.seen: list[str] = []
        self.wire = rpc.Connection()
        self.running: int | None = None
        self.meets: tuple[int, str] | None = None
        self.asks: int | None = None
        self.deaf = False

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]

    def serve(self) -> None:
        while data := os.read(0, 65536):
            for message in self.wire.receive(data):
                if isinstance(message, rpc.Request):
                    self.request(message)
                elif isinstance(message, rpc.Response):
                    self.answered(message)
                elif isinstance(message, rpc.Violation):
                    sys.exit(f"odd: {message.error}")

    def request(self, message: rpc.Request) -> None:
        self.wire.answered(message.msgid)
        if self.deaf and message.method != "turn.run":
            return
        if message.method == "shutdown" and self.mode == "stubborn":
            return
        answer: Any = {}
        match message.method:
            case "initialize" if self.mode == "refuses":
                name, depth, *_ = *sys.argv[2:], 0
                return self.write(rpc.failure(message.msgid, ERRORS[name]("this worker refuses", x=nested(int(depth)))))
            case "initialize":
                answer = self.initialize(message.params)
            case "turn.run":
                return self.turn(message.msgid, message.params)
            case "turn.cancel" if self.running is not None:
                self.write(rpc.response(message.msgid, {}))
                self.write(rpc.response(self.running, {"status": "cancelled"}))
                self.running = None
                return
            case "checkpoint" | "state.get" if self.meets is not None:
                return self.meet(message.msgid, *self.meets)
            case "checkpoint" | "state.get":
                answer = {"state": self.seen}
            case "state.clear":
                self.seen = []
                answer = {"state": self.seen}
            case "shutdown":
                self.write(rpc.response(message.msgid, {}))
                sys.exit(0)
            case _:
                pass
        self.write(rpc.response(message.msgid, answer))

    def answered(self, message: rpc.Response) -> None:
        """The name of the error that its question was answered with is what its turn says."""
        assert self.asks is not None
        self.say(message.error["name"])
        self.write(rpc.response(self.asks, {"status": "completed"}))
        self.asks = None

    def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.mode == "mute":
            time.sleep(3600)
        self.seen = list(params.get("state") or [])
        if params.get("interrupted"):
            self.seen.append(f"interrupted: {params['interrupted']['input']}")
        version = 99 if self.mode == "old" else 1
        return {"protocol": version, "capabilities": [] if self.mode == "lazy" else ["checkpoint", "clear"]}

    def turn(self, msgid: int, params: dict[str, Any]) -> None:
        prompt = params["input"]
        self.seen.append(prompt)
        verb, _, rest = prompt.partition(" ")
        result: dict[str, Any] = {"status": "completed"}
        match verb:
            case "die":
                print("odd: last words", file=sys.stderr, flush=True)
                os._exit(int(rest or 3))
            case "kill":
                import signal

                os.kill(os.getpid(), signal.SIGKILL)
            case "rubbish":
                self.write(b"\xc1 this is not MessagePack")
                time.sleep(3600)
            case "unknown":
                self.write(rpc.notification("no.such", {}))
            case "item":
                self.write(rpc.notification("item.delta", {"item": "never started", "text": "x"}))
            case "wrong":
                result = {"status": 7}
            case "wait":
                self.running = msgid
                return
            case "meet":
                self.meets = msgid, rest
                return
            case "ask":
                self.asks = msgid
                return self.write(rpc.request(self.wire.next_msgid(), rest, {}))
            case "deaf":
                self.deaf = True
                return
            case "say":
                self.say(rest)
            case "count":
                for n in range(int(rest)):
                    self.say(str(n))
            case "progress":
                self.write(b"".join(rpc.notification("progress", {"message": f"{n:0250}"}) for n in range(int(rest))))
            case "fail":
                result = {"status": "failed", "message": rest or "it failed"}
            case "shout":
                result = {"status": "failed", "message": "x" * int(rest), "data": {"x": "x" * int(rest)}}
            case "code":
                result["exit_code"] = int(rest)
            case "coded":
                return self.write(rpc.failure(msgid, ERRORS["turn_failed"]("no", exit_code=int(rest))))
            case "error":
                return self.write(rpc.failure(msgid, ERRORS[rest]("the worker says so")))
            case "data":
                self.data(*map(int, rest.split()))
            case "deep":
                self.write(rpc.notification("item.start", {"item": "m", "kind": "status", "data": nested(int(rest))}))
            case "most":
                result = self.most()
            case "hoard":
                self.seen.append("x" * int(rest))
            case "hush":
                os.close(1)
                time.sleep(3600)
            case "unhear":
                os.close(0)
                time.sleep(3600)
            case "busy":
                time.sleep(3600)
            case "save":
                result["state"] = self.seen
            case "stop":
                import signal

                self.write(rpc.response(msgid, result))
                os.kill(os.getpid(), signal.SIGSTOP)
                return
            case _:
                pass
        self.write(rpc.response(msgid, result))

    def meet(self, asked: int, msgid: int, first: str) -> None:
        """The answers to a turn and to who asks for the state meanwhile, in one piece."""
        self.meets = None
        turn, state = rpc.response(msgid, {"status": "completed"}), rpc.response(asked, {"state": self.seen})
        self.write(state + turn if first == "state" else turn + state)

    def most(self) -> dict[str, Any]:
        """The longest title, the most data of an item and of a failure, the longest message."""
        wide = "\N{GRINNING FACE}" * 5000
        start, end = ({name: "x" * (MOST_DATA - 20)} for name in ("start", "end"))
        self.write(
            rpc.notification("item.start", {"item": "m", "kind": "status", "title": wide, "data": start})
            + rpc.notification("item.end", {"item": "m", "state": "completed", "data": end})
        )
        return {"status": "failed", "message": wide, "data": {"most": "x" * (MOST_FAILURE - 10)}}

    def data(self, start: int, text: int = 0) -> None:
        """An item with ``start`` bytes of data and ``text`` bytes of content, left open."""
        self.write(
            rpc.notification("item.start", {"item": "d", "kind": "status", "data": {"x": "x" * start}})
            + rpc.notification("item.delta", {"item": "d", "text": "y" * text})
        )

    def say(self, text: str) -> None:
        self.write(
            rpc.notification("item.start", {"item": "m", "kind": "agent_message"})
            + rpc.notification("item.delta", {"item": "m", "text": text})
            + rpc.notification("item.end", {"item": "m", "state": "completed"})
        )


def main() -> None:
    mode = sys.argv[1] if len(sys.argv) > 1 else "well"
    if mode == "rubbish":
        print("this is not the protocol", flush=True)
        time.sleep(3600)
    if mode == "exit":
        sys.exit("odd: exits at once")
    if mode == "stubborn":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Odd(mode).serve()


if __name__ == "__main__":
    main()
