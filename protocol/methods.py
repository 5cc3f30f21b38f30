"""The verbs: Params and a Result for each, and the table METHODS that lists them all."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from .feeds import (
    EventsReadParams,
    EventsReadResult,
    EventsSubscribeParams,
    EventsSubscribeResult,
    EventsUnsubscribeParams,
)
from .model import (
    After,
    Checkpoint,
    DurationMs,
    Item,
    Label,
    Limits,
    Noun,
    Positive,
    Problem,
    PromptText,
    Session,
    SessionState,
    Turn,
    TurnState,
    UnixMs,
)
from .params import Count, Cursor, Done, EnvName, EnvValue, Key, Nothing, Number, Params, SessionRef, TurnRef
from .service import (
    CancelParams,
    DaemonStatsResult,
    DaemonStatusResult,
    DiscoverResult,
    EngineListResult,
    HelloParams,
    HelloResult,
    ReloadResult,
    ShutdownParams,
)

# --- sessions ---


class SessionCreateParams(Params):
    engine: str | None = Field(default=None, max_length=64, description="the default engine if left out")
    name: Label | None = None
    workspace: str = Field(min_length=1, max_length=4096, description="an absolute path of a directory")
    env: dict[EnvName, EnvValue] = Field(default={}, description="variables for the children")
    after: After = After()
    limits: Limits = Limits()
    key: Key = None


class SessionParams(Params):
    session: SessionRef


class SessionResult(Noun):
    session: Session


class SessionListParams(Params):
    archived: bool = Field(default=False, description="list the archived ones instead")
    state: SessionState | None = Field(default=None, strict=False)
    limit: Count = 200
    cursor: str = Field(
        default="", pattern=r"^([0-9]{1,16}\.s-[a-z2-7]{16})?$", description="`next` of the page before"
    )


class SessionListResult(Noun):
    sessions: list[Session]
    next: str | None


class SessionUpdateParams(SessionParams):
    name: Label | None = None
    after: After | None = None
    limits: Limits | None = Field(default=None, description="in place of those it had; the next child has them")

    @model_validator(mode="after")
    def _something(self) -> "SessionUpdateParams":
        if self.name is None and self.after is None and self.limits is None:
            raise ValueError("nothing to change was given: name, after, limits")
        return self


class SessionStopParams(SessionParams):
    force: bool = Field(default=False, description="do not ask the turn that runs first: end the child")


class SessionStopResult(SessionResult):
    unsaved: Problem | None = Field(default=None, description="why its state could not be saved and is lost, if it is")


class SessionDeleteParams(SessionParams):
    force: bool = Field(default=False, description="also when a turn runs or waits")


class SessionStateParams(SessionParams):
    name: Label = Field(default="latest", description="of a checkpoint; `latest` asks a live child first")


class SessionStateResult(Noun):
    source: Literal["live", "checkpoint", "none"]
    through_turn: str | None
    at: UnixMs | None
    state: Any


class SessionCheckpointParams(SessionParams):
    name: Label = "latest"


class CheckpointResult(Noun):
    checkpoint: Checkpoint


class CheckpointListResult(Noun):
    checkpoints: list[Checkpoint]


class SessionStderrParams(SessionParams):
    offset: Number | None = Field(default=None, description="bytes since the session was made; null: near the end")
    limit: Annotated[int, Field(ge=1, le=262_144, description="bytes")] = 65_536


class SessionStderrResult(Noun):
    data: bytes = Field(description="what its children wrote to stderr, cut at bytes, not at characters")
    offset: int = Field(description="where data begins; more than was asked for when older output is gone")
    next: int = Field(description="the offset to read on from")
    bytes: int = Field(description="written so far, kept or not")


class SessionWaitParams(SessionParams):
    timeout: DurationMs | None = Field(default=None, description="ms; forever if left out")


class SessionReleaseResult(Noun):
    session: Session
    released: int = Field(description="turns that go on")


# --- turns ---


class TurnSendParams(SessionParams):
    input: PromptText
    timeout: Positive | None = Field(default=None, description="ms the turn may run")
    idle_timeout: Positive | None = Field(default=None, description="ms its child may be silent")
    retry_of: TurnRef | None = None
    key: Key = None


class TurnSendResult(Noun):
    turn: Turn
    held: str | None = Field(description="why it does not run: the session's hold; null if it is not held")
    ahead: int = Field(description="turns before it, the running one included")


class TurnParams(Params):
    turn: TurnRef


class TurnGetParams(Params):
    # No TurnRef: the query that reads the items finds the turn too, and a look-up before it would be one read more.
    turn: Annotated[str, Field(min_length=1, max_length=128, description="id or unique start of an id")]
    after: Cursor = Field(default=0, description="items with a greater number")


class TurnGetResult(Noun):
    turn: Turn
    items: list[Item]
    next: int | None


class TurnResult(Noun):
    turn: Turn


class TurnListParams(SessionParams):
    state: TurnState | None = Field(default=None, strict=False)
    limit: Count = 100
    cursor: Cursor = 0
    newest: bool = Field(default=False, description="newest first; queued turns are always in the order they will run")


class TurnListResult(Noun):
    turns: list[Turn]
    next: int | None


class TurnCancelParams(TurnParams):
    reason: Literal["user", "timeout", "policy"] = "user"


class TurnCancelResult(Noun):
    turn: Turn
    outcome: Literal["cancelled", "requested", "ended"] = Field(
        description="cancelled: it had not started; requested: it was asked to end; ended: it had ended before"
    )


class TurnEditParams(TurnParams):
    input: PromptText


class TurnMoveParams(TurnParams):
    before: TurnRef | None = Field(description="the queued turn it shall stand before; null: the end of the queue")


class TurnWaitParams(TurnParams):
    timeout: DurationMs | None = Field(default=None, description="ms; forever if left out")


class ItemReadParams(Params):
    item: str = Field(min_length=1, max_length=128)
    offset: Number = Field(default=0, description="bytes")
    limit: int = Field(default=262_144, ge=1, le=917_504, description="bytes")


class ItemReadResult(Noun):
    data: bytes = Field(description="UTF-8, cut at bytes, not at characters")
    next: int | None = Field(description="the offset to go on at; null at the end")
    bytes: int = Field(description="of the whole content, kept or not")
    kept: int


_BY_LIMIT = "ask for a smaller `limit` and go on with `next`"


class Method(NamedTuple):
    """A verb.

    Attributes:
        changes: it creates or changes something: not while the daemon stops, and done though its client leaves.
        always: it is answered also when there is no database.
        paging: how to get less, where a result would be over 1 MiB.
    """

    params: type[Params]
    result: type[Noun]
    summary: str
    changes: bool = False
    always: bool = False
    paging: str = "it cannot be had in parts; please report this"


METHODS: dict[str, Method] = {
    "hello": Method(
        HelloParams, HelloResult, "Say who you are, learn what the daemon can do and its limits.", always=True
    ),
    "rpc.discover": Method(Nothing, DiscoverResult, "This document, as OpenRPC.", always=True),
    "rpc.cancel": Method(CancelParams, Done, "Withdraw a request: only the waiting ends, never the work.", always=True),
    "daemon.status": Method(Nothing, DaemonStatusResult, "How the daemon is.", always=True),
    "daemon.stats": Method(
        Nothing, DaemonStatsResult, "Counters, what is in flight, and what processes use.", always=True
    ),
    "daemon.reload": Method(Nothing, ReloadResult, "Read the settings again; sessions go on.", changes=True),
    "daemon.shutdown": Method(ShutdownParams, Done, "Stop as SIGTERM does; answered before it begins.", always=True),
    "engine.list": Method(Nothing, EngineListResult, "The engines a session can have."),
    "session.create": Method(SessionCreateParams, SessionResult, "Make a session; no child is started.", changes=True),
    "session.get": Method(SessionParams, SessionResult, "One session."),
    "session.list": Method(SessionListParams, SessionListResult, "Sessions, oldest first.", paging=_BY_LIMIT),
    "session.update": Method(
        SessionUpdateParams, SessionResult, "Change its name, limits, or what follows a failed turn.", changes=True
    ),
    "session.start": Method(
        SessionParams, SessionResult, "Have its child running; re-arms a failed session.", changes=True
    ),
    "session.stop": Method(
        SessionStopParams, SessionStopResult, "Cancel what runs, save the state, end the child.", changes=True
    ),
    "session.state": Method(
        SessionStateParams,
        SessionStateResult,
        "A copy of the engine's state.",
        paging="the state itself is that big; `session.checkpoint` saves it without sending it",
    ),
    "session.clear": Method(SessionParams, SessionResult, "Empty the engine's state; the session stays.", changes=True),
    "session.checkpoint": Method(
        SessionCheckpointParams, CheckpointResult, "Save the engine's state under a name.", changes=True
    ),
    "session.checkpoints": Method(SessionParams, CheckpointListResult, "The saved states."),
    "session.archive": Method(
        SessionParams, SessionStopResult, "Put an idle session away; nothing is deleted.", changes=True
    ),
    "session.unarchive": Method(SessionParams, SessionResult, "Take it back.", changes=True),
    "session.delete": Method(SessionDeleteParams, Done, "Delete it and all that it holds.", changes=True),
    "session.stderr": Method(
        SessionStderrParams, SessionStderrResult, "What its children wrote to stderr.", paging=_BY_LIMIT
    ),
    "session.wait": Method(SessionWaitParams, SessionResult, "Wait until nothing runs and nothing can run."),
    "session.release": Method(SessionParams, SessionReleaseResult, "Let queued turns on hold go on.", changes=True),
    "turn.send": Method(TurnSendParams, TurnSendResult, "Queue a prompt; durable before it is answered.", changes=True),
    "turn.get": Method(
        TurnGetParams,
        TurnGetResult,
        "One turn and its items.",
        paging="page its items with `after`, read a big one with item.read",
    ),
    "turn.list": Method(TurnListParams, TurnListResult, "Turns of a session.", paging=_BY_LIMIT),
    "turn.cancel": Method(
        TurnCancelParams, TurnCancelResult, "Cancel a turn; asking twice is asking once.", changes=True
    ),
    "turn.edit": Method(TurnEditParams, TurnResult, "Change the prompt of a queued turn.", changes=True),
    "turn.move": Method(TurnMoveParams, TurnResult, "Change a queued turn's place.", changes=True),
    "turn.remove": Method(TurnParams, TurnResult, "Take a queued turn out of the queue.", changes=True),
    "turn.wait": Method(TurnWaitParams, TurnResult, "Wait for a turn's end."),
    "item.read": Method(
        ItemReadParams,
        ItemReadResult,
        "The whole content of an item, a piece at a time.",
        paging="ask for a smaller `limit`",
    ),
    "events.read": Method(EventsReadParams, EventsReadResult, "Events after a number.", paging=_BY_LIMIT),
    "events.subscribe": Method(
        EventsSubscribeParams, EventsSubscribeResult, "Events after a number, then live, as `event` notifications."
    ),
    "events.unsubscribe": Method(EventsUnsubscribeParams, Done, "End a subscription."),
}
