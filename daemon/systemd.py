"""What systemd hands over and wants to be told: the listening socket, readiness, the watchdog. See sd_notify(3)."""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from ..protocol.errors import InvalidSettings

FIRST = 3
"""The first descriptor that systemd passes."""


def listen_socket(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The listening Unix socket that was handed over; None if none was, or if it was meant for another process.

    Its variables are taken out of ``environ`` (pass ``os.environ``), so that no child believes it was handed one.

    Raises:
        InvalidSettings: something was handed over, but no such socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    handed = [_socket(descriptor) for descriptor in range(FIRST, FIRST + int(count))]
    fitting = [one for one in handed if one is not None]
    if len(fitting) != 1:
        text = f"systemd handed over {count} descriptors, {len(fitting)} of them listening Unix stream sockets"
        raise InvalidSettings(f"{text}; roost.socket must have one ListenStream=", descriptors=int(count))
    if not isinstance(fitting[0].getsockname(), str):  # an abstract one: whoever is in this network may connect to it
        raise InvalidSettings("systemd handed over a socket without a path; ListenStream= must name one, and no @name")
    return fitting[0]


def _socket(descriptor: int) -> socket.socket | None:
    os.set_inheritable(descriptor, False)
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if (
        found.family == socket.AF_UNIX
        and found.type == socket.SOCK_STREAM
        and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        return found
    found.detach()
    return None


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life: half of what systemd waits. None: it expects none of this process."""
    usec = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6 if usec.isdecimal() and int(usec) else None


class Notifier:
    """Tells systemd how the daemon is. It never waits and never raises; without NOTIFY_SOCKET it does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._unsent = ""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Everything is served."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are being read again; :meth:`ready` says that they were."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """The stop has begun, and with it systemd's stop clock."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Whatever is under way may take that much longer, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        """Say nothing more."""
        if self._address:
            self._address = ""
            self._socket.close()

    def _send(self, message: str) -> None:
        if not self._address:
            return
        message = self._unsent + message
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except BlockingIOError:
            # A lost READY=1 would be the end of the daemon: it goes with the next message.
            self._unsent = message[-4096:] + "\n"
        except OSError:
            self._unsent = ""
        else:
            self._unsent = ""
