"""A program with a MessagePack-RPC client that is not ours: pynvim's. It prints what it was told, as JSON."""

import json
import sys
from typing import Any

from pynvim.msgpack_rpc import socket_session  # type: ignore[import-untyped]

ENDED = ("turn.completed", "turn.failed", "turn.cancelled")


def as_exception(error: dict[str, Any]) -> RuntimeError:
    return RuntimeError(error["name"])


def main() -> None:
    path, session, last = sys.argv[1:]
    rpc: Any = socket_session(path)
    rpc.error_wrapper = as_exception
    found: dict[str, Any] = {"sessions": rpc.request("session.list", {})["sessions"]}
    found["status"] = rpc.request("daemon.status")["phase"]
    found["read"] = rpc.request("events.read", {"session": session, "limit": 1000})["events"]
    try:
        rpc.request("session.get", {"session": "nobody"})
    except RuntimeError as exc:
        found["error"] = str(exc)
    rpc.request("events.subscribe", {"session": session, "after": 0})
    print("following", flush=True)
    followed: list[dict[str, Any]] = []
    while not any(event["turn"] == last and event["kind"] in ENDED for event in followed):
        kind, method, params = rpc.next_message()
        followed += params if (kind, method) == ("notification", "event") else []
    found["followed"] = followed
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
