"""One class per error name. ``name`` is stable, ``message`` says what to do, ``data`` names the culprit.

Strategy: a handler raises one of these and the server sends it; a client that receives one raises the same class.
``ProtocolViolation`` is the *peer's* mistake on the wire, ``LocalProtocolError`` is our own caller's.
"""

from __future__ import annotations

from .record import is_map

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any, ClassVar


class RoostError(Exception):
    """An error with a stable name that can cross the wire.

    Args:
        message: one sentence that says what to do.
        data: names the culprit; every value must be something MessagePack can carry.
    """

    name: ClassVar[str] = "error"
    code: ClassVar[int] = 0

    def __init__(self, message: str, /, **data: Any) -> None:  # data may have any name: a peer chooses it
        super().__init__(message)
        self.message = message
        self.data = data

    @property
    def wire_name(self) -> str:
        return self.name

    def to_wire(self) -> dict[str, Any]:
        return {"code": self.code, "name": self.wire_name, "message": self.message, "data": self.data}


class LocalProtocolError(Exception):
    """Our own caller asked for something that must not be put on the wire."""


class UnknownError(RoostError):
    """A peer, newer than this side, sent an error whose name is not known here."""

    code = 1

    def __init__(self, message: str, wire_name: str, /, **data: Any) -> None:
        super().__init__(message, **data)
        self._wire_name = wire_name

    @property
    def wire_name(self) -> str:
        return self._wire_name


class ProtocolViolation(RoostError):
    """The peer sent bytes that are not MessagePack-RPC. The connection is over."""

    name = "protocol_violation"
    code = -32700


class FrameTooLarge(ProtocolViolation):
    name = "frame_too_large"
    code = -32701


class InvalidRequest(ProtocolViolation):
    name = "invalid_request"
    code = -32600


class MethodNotFound(RoostError):
    name = "method_not_found"
    code = -32601


class InvalidParams(RoostError):
    name = "invalid_params"
    code = -32602


class InternalError(RoostError):
    name = "internal_error"
    code = -32603


class DuplicateMsgid(RoostError):
    name = "duplicate_msgid"
    code = -32604


class TooManyRequests(RoostError):
    name = "too_many_requests"
    code = -32605


class RequestCancelled(RoostError):
    name = "request_cancelled"
    code = -32606


class ResultTooLarge(RoostError):
    name = "result_too_large"
    code = -32607


class ProtocolMismatch(RoostError):
    name = "protocol_mismatch"
    code = -32608


# --- what was asked for is not there ---


class SessionNotFound(RoostError):
    name = "session_not_found"
    code = 100


class TurnNotFound(RoostError):
    name = "turn_not_found"
    code = 101


class ItemNotFound(RoostError):
    name = "item_not_found"
    code = 102


class EngineNotFound(RoostError):
    name = "engine_not_found"
    code = 103


class CheckpointNotFound(RoostError):
    name = "checkpoint_not_found"
    code = 104


class SubscriptionNotFound(RoostError):
    name = "subscription_not_found"
    code = 105


class AmbiguousId(RoostError):
    name = "ambiguous_id"
    code = 106


# --- what was asked for cannot be done now ---


class IllegalTransition(RoostError):
    name = "illegal_transition"
    code = 200


class NameTaken(RoostError):
    name = "name_taken"
    code = 201


class KeyConflict(RoostError):
    name = "key_conflict"
    code = 202


class SessionArchived(RoostError):
    name = "session_archived"
    code = 203


class SessionBusy(RoostError):
    name = "session_busy"
    code = 204


class SessionFailed(RoostError):
    """The session's restart limit is reached."""

    name = "session_failed"
    code = 205


class TurnNotQueued(RoostError):
    name = "turn_not_queued"
    code = 206


class QueueFull(RoostError):
    name = "queue_full"
    code = 207


class LimitReached(RoostError):
    name = "limit_reached"
    code = 208


class SubscriptionOverlap(RoostError):
    name = "subscription_overlap"
    code = 209


class TimedOut(RoostError):
    name = "timed_out"
    code = 210


class ShuttingDown(RoostError):
    name = "shutting_down"
    code = 211


class NotSupported(RoostError):
    """The session's engine cannot do this."""

    name = "not_supported"
    code = 212


class WorkspaceInvalid(RoostError):
    """Missing, not a directory, not UTF-8, or not readable in time."""

    name = "workspace_invalid"
    code = 300


class EngineFailed(RoostError):
    """The engine's program does not exist or could not be started."""

    name = "engine_failed"
    code = 301


class WorkerExited(RoostError):
    name = "worker_exited"
    code = 302


class WorkerViolation(RoostError):
    """The worker said something that is not its protocol."""

    name = "worker_violation"
    code = 303


class TurnFailed(RoostError):
    """A worker's own report that a turn failed."""

    name = "turn_failed"
    code = 304


class SecretMissing(RoostError):
    name = "secret_missing"
    code = 305


class LimitUnenforceable(RoostError):
    """This host cannot enforce a limit, and the settings say that the session is not to run without."""

    name = "limit_unenforceable"
    code = 306


class OutOfMemory(RoostError):
    """The kernel ended a process of the session because its memory limit was reached."""

    name = "out_of_memory"
    code = 307


class ProcessesLeft(RoostError):
    """Processes of the session do not end although they were killed: the kernel or a debugger holds them."""

    name = "processes_left"
    code = 308


class StorageTrouble(RoostError):
    """The storage, and nothing that was asked for, is why this cannot be done now."""


class StorageFailed(StorageTrouble):
    """Disk full or an I/O error; nothing half-done stayed."""

    name = "storage_failed"
    code = 400


class StorageGone(StorageTrouble):
    """The database, its write-ahead log, the lock or the socket was unlinked or replaced under the daemon."""

    name = "storage_gone"
    code = 401


class OutcomeUnknown(StorageTrouble):
    """The commit may or may not be on disk; the same ``key`` is safe to send again."""

    name = "outcome_unknown"
    code = 402


class DatabaseRefused(StorageTrouble):
    name = "database_refused"
    code = 403


class DatabaseDamaged(DatabaseRefused):
    name = "database_damaged"
    code = 404


class DatabaseNewer(DatabaseRefused):
    name = "database_newer"
    code = 405


class DatabaseMissing(DatabaseRefused):
    name = "database_missing"
    code = 406


# --- the daemon's own start, and reaching it ---


class InvalidSettings(RoostError):
    name = "invalid_settings"
    code = 500


class StateDirectoryUnusable(RoostError):
    name = "state_directory_unusable"
    code = 501


class DaemonRunning(RoostError):
    """Another daemon holds the lock of this state directory, or serves the database that this is a copy of."""

    name = "daemon_running"
    code = 502


class SocketPathTooLong(RoostError):
    name = "socket_path_too_long"
    code = 503


class SocketInUse(RoostError):
    name = "socket_in_use"
    code = 504


class PeerRefused(RoostError):
    name = "peer_refused"
    code = 505


class DaemonUnreachable(RoostError):
    name = "daemon_unreachable"
    code = 506


class ConnectionLost(RoostError):
    name = "connection_lost"
    code = 507


class PeerUntrusted(RoostError):
    """Another user listens on the socket: the client has said nothing to it."""

    name = "peer_untrusted"
    code = 508


def _tree(root: type[RoostError]) -> dict[str, type[RoostError]]:
    found = {root.name: root}
    for sub in root.__subclasses__():
        if sub is not UnknownError:
            found |= _tree(sub)
    return found


ERRORS = {name: cls for name, cls in _tree(RoostError).items() if name != "error"}
"""Every error by its name."""


def from_wire(error: object) -> RoostError:
    """The exception for an error that a peer sent; an unknown name becomes :class:`UnknownError`."""
    if not is_map(error):
        return UnknownError(f"the peer answered with the error {error!r}", "error")
    name, message, data = str(error.get("name", "error")), str(error.get("message", "")), error.get("data")
    fields = {str(key): value for key, value in data.items()} if is_map(data) else {}
    known = ERRORS.get(name)
    return known(message, **fields) if known else UnknownError(message, name, **fields)
