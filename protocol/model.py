"""The nouns: a session, a turn, an item, a checkpoint and an engine as they are on the wire and in memory."""

import secrets
from base64 import b32encode
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def new_id(kind: Literal["s", "t", "i", "e", "c"]) -> str:
    """An id: the letter of its kind (``s`` session, ``t`` turn, ``i`` item) and 80 random bits in base32."""
    return f"{kind}-{b32encode(secrets.token_bytes(10)).decode().lower()}"


class Noun(BaseModel):
    """A record the daemon owns. Clients ignore fields they do not know."""

    # Validators are built when first used: all at once they cost a start 40 ms and 5 MB.
    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, json_schema_serialization_defaults_required=True
    )

    def to_wire(self) -> dict[str, Any]:
        return self.model_dump(mode="python")


UnixMs = Annotated[int, Field(ge=0, description="unix time in milliseconds")]
DurationMs = Annotated[int, Field(ge=0, le=2**53, description="milliseconds")]
Positive = Annotated[int, Field(ge=1, le=2**53, strict=True)]
PromptText = Annotated[str, Field(min_length=1, description="the prompt")]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class SessionState(StrEnum):
    idle = "idle"
    starting = "starting"
    ready = "ready"
    busy = "busy"
    waiting = "waiting"
    stopping = "stopping"
    failed = "failed"


class TurnState(StrEnum):
    queued = "queued"
    running = "running"
    waiting = "waiting"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    interrupted = "interrupted"


class ItemState(StrEnum):
    in_progress = "in_progress"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    interrupted = "interrupted"


class ItemKind(StrEnum):
    user_message = "user_message"
    agent_message = "agent_message"
    thought = "thought"
    tool_call = "tool_call"
    command = "command"
    file_change = "file_change"
    plan = "plan"
    status = "status"
    error = "error"


class EngineKind(StrEnum):
    worker = "worker"
    command = "command"


class AfterEnd(StrEnum):
    """The treatment of the turns queued behind a turn that did not complete."""

    proceed = "continue"
    hold = "hold"
    retry = "retry"


class After(Noun):
    """The sequel of a turn that did not complete. ``retry`` sends it once more, at most 3 times in all, then holds.

    A turn that a user has cancelled or stopped is not sent again, but holds.
    """

    failed: AfterEnd = AfterEnd.hold
    interrupted: AfterEnd = AfterEnd.hold
    cancelled: AfterEnd = AfterEnd.hold


class Limits(Noun):
    """Limits of a session's processes; null: roost sets none. A limit that this host cannot enforce is refused."""

    memory_max: int | None = Field(default=None, ge=1, le=2**53, strict=True, description="bytes, of all together")
    pids_max: int | None = Field(
        default=None, ge=1, le=2**53, strict=True, description="processes and threads, of all together"
    )
    cpu_max: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="processors, of all together: 1.5 is one and a half"
    )
    nofile: int | None = Field(
        default=None, ge=1, le=2**53, strict=True, description="open descriptors, of each process"
    )


class Usage(Noun):
    """Tokens used, and what they cost if the engine says so."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None


class ClientAuthor(Noun):
    """A client: its credentials as the kernel gave them, its own name for itself, and the session it stands in."""

    kind: Literal["client"] = "client"
    pid: int
    uid: int
    client: str = ""
    session: str | None = Field(default=None, description="the session whose child, or what that started, it is")


class PolicyAuthor(Noun):
    """A rule of the policy."""

    kind: Literal["policy"] = "policy"
    rule: str


class DeadlineAuthor(Noun):
    """A time that was over."""

    kind: Literal["deadline"] = "deadline"
    limit: str = Field(description="which: timeout, idle_timeout, …")


class SessionAuthor(Noun):
    """A session, by its setting for a turn that did not complete."""

    kind: Literal["session"] = "session"
    session: str


class DaemonAuthor(Noun):
    """roostd itself."""

    kind: Literal["daemon"] = "daemon"


Author = Annotated[
    ClientAuthor | PolicyAuthor | DeadlineAuthor | SessionAuthor | DaemonAuthor, Field(discriminator="kind")
]
"""The author of a change. Clients ignore kinds that they do not know."""
DAEMON = DaemonAuthor()


class Hold(Noun):
    """Queued turns are parked until a client releases them."""

    reason: str
    turn: str | None = Field(default=None, description="the turn whose end caused it")
    at: UnixMs


class Problem(Noun):
    """An error as it is kept with a session or a turn: the same map that crosses the wire."""

    name: str
    message: str
    data: dict[str, Any] = {}


class Session(Noun):
    """A durable conversation with one engine in one workspace."""

    id: str
    name: str | None = None
    engine: str
    kind: EngineKind
    workspace: str
    state: SessionState = SessionState.idle
    archived: bool = False
    hold: Hold | None = None
    after: After = After()
    limits: Limits = Field(default=Limits(), description="of its own; where null, its engine's hold")
    queued: int = Field(default=0, description="turns that wait to run")
    turns: int = Field(default=0, description="turns ever sent")
    turn: str | None = Field(default=None, description="the turn that runs now")
    last_turn: str | None = Field(default=None, description="the turn that ended last")
    last_turn_state: TurnState | None = None
    interrupted: str | None = Field(
        default=None, description="a turn that was cut off and of which the engine has not been told yet"
    )
    pid: int | None = Field(default=None, description="the live child's pid")
    failure: Problem | None = Field(default=None, description="why the child last died or could not be started")
    seq: int = Field(default=0, description="the last event's number in this session")
    usage: Usage = Usage()
    checkpoint_at: UnixMs | None = Field(default=None, description="when its state was last saved")
    through_turn: str | None = Field(default=None, description="the last turn that the saved state holds")
    created_at: UnixMs
    updated_at: UnixMs
    active_at: UnixMs = Field(description="when a turn was last sent or ended, or the session used")


class Progress(Noun):
    """How far a turn is."""

    message: str
    fraction: float | None = Field(default=None, description="from 0 to 1, if the engine knows")


class Turn(Noun):
    """One prompt and all that came of it."""

    id: str
    session: str
    number: int = Field(description="from 1, in order of arrival")
    state: TurnState
    input: str
    reason: str | None = Field(default=None, description="why it ended as it did: user, timeout, daemon_restart, …")
    problem: Problem | None = None
    cancelling: str | None = Field(default=None, description="the reason of a cancel that is under way")
    cancelled_by: Author | None = None
    exit_code: int | None = None
    retry_of: str | None = None
    timeout: DurationMs | None = Field(default=None, description="ms it may run")
    idle_timeout: DurationMs | None = Field(default=None, description="ms its child may be silent")
    author: Author | None = None
    usage: Usage = Usage()
    progress: Progress | None = Field(default=None, description="the last that its engine said of it")
    created_at: UnixMs
    started_at: UnixMs | None = None
    ended_at: UnixMs | None = None
    duration: DurationMs | None = Field(default=None, description="ms from start to end, on the monotonic clock")


class Item(Noun):
    """A part of a turn. ``content`` is whole up to 256 KiB; beyond that it is the head, and ``tail`` the end."""

    id: str
    turn: str
    session: str
    number: int = Field(description="from 1 within the turn")
    kind: ItemKind
    state: ItemState
    title: str = ""
    content: str = ""
    tail: str = ""
    bytes: int = Field(default=0, description="of the whole content, in UTF-8")
    kept: int = Field(default=0, description="bytes that item.read can give; less than bytes past max_output")
    truncated: bool = Field(default=False, description="content and tail are not the whole: use item.read")
    data: dict[str, Any] = {}
    started_at: UnixMs
    ended_at: UnixMs | None = None


class Checkpoint(Noun):
    """A saved copy of an engine's state for one session."""

    session: str
    name: str
    through_turn: str | None = Field(default=None, description="the last turn that it holds")
    bytes: int
    at: UnixMs


class Event(Noun):
    """A numbered, durable record of something that happened."""

    session: str | None = Field(description="null for the daemon's own")
    seq: int = Field(description="from 1 within the session, without gap")
    offset: int = Field(description="daemon-wide")
    at: UnixMs
    kind: str
    turn: str | None = None
    data: dict[str, Any]


class Engine(Noun):
    """A configured way to run a session's child."""

    name: str
    kind: EngineKind
    command: list[str]
    default: bool = False


class Check(Noun):
    """One thing about this host or this daemon that was looked at."""

    name: str
    ok: bool
    message: str = Field(description="what was found and, if it is not ok, what to do")


class ProcessStats(Noun):
    """A child and all that it started; or the daemon itself, which is told first.

    A session that has several children has an entry for each of them.
    """

    session: str | None = Field(description="null: the daemon itself, or a child of no session")
    pid: int = Field(description="the child's")
    pids: list[int] = Field(description="of all of them, the child's first; at most 64")
    processes: int = Field(description="how many they are")
    threads: int
    cpu: DurationMs = Field(description="ms of processor time that those alive have used")
    memory: int = Field(description="resident bytes, of all together")
    descriptors: int = Field(description="open ones, of all together")
    age: DurationMs = Field(description="ms since the child was started")
