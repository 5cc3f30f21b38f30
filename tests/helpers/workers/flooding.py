"""A worker that writes without end, by the wire itself: prompts ``endless``, ``items N``, ``noise N``, ``leave N``."""

import os
import subprocess
from typing import Any

from helpers.odd_worker import Odd
from roost.protocol import rpc


class Flooding(Odd):
    def turn(self, msgid: int, params: dict[str, Any]) -> None:
        verb, _, rest = params["input"].partition(" ")
        match verb:
            case "endless":
                # A message that says it has 2 GiB of text, and then text for as long as anybody reads.
                head = b"\x93\x02" + rpc.pack("item.delta") + b"\x81" + rpc.pack("text") + b"\xdb\x7f\xff\xff\xff"
                self.write(head)
                while True:
                    self.write(b"x" * 65_536)
            case "items":
                delta = rpc.notification("item.delta", {"item": "m", "text": "x" * 60_000})
                self.write(rpc.notification("item.start", {"item": "m", "kind": "agent_message"}))
                for _ in range(int(rest) // 60_000):
                    self.write(delta)
                self.write(rpc.notification("item.end", {"item": "m", "state": "completed"}))
            case "noise":
                for _ in range(int(rest) // 65_536):
                    os.write(2, b"y" * 65_535 + b"\n")
            case "leave":
                subprocess.Popen(["sleep", "600"], start_new_session=True)
                os._exit(int(rest))
            case _:
                pass
        self.write(rpc.response(msgid, {"status": "completed"}))


if __name__ == "__main__":
    Flooding("well").serve()
