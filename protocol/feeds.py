"""Reading and following events: the verbs' params and results, and the two notifications that carry them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from .model import Noun
from .params import Count, Number, Params, SessionRef


class Feed(Params):
    session: SessionRef | None = Field(default=None, description="events of one session; `after` is a seq")
    all: bool = Field(default=False, description="events of all sessions and the daemon; `after` is an offset")
    kinds: list[str] | None = Field(default=None, max_length=64, description="only these kinds, or `noun.` prefixes")

    @model_validator(mode="after")
    def _one(self) -> "Feed":
        if (self.session is None) != self.all:
            raise ValueError("give session, or all = true")
        return self


class EventsReadParams(Feed):
    after: Number = 0
    limit: Count = 256


class EventsReadResult(Noun):
    events: list[dict[str, Any]]
    next: int = Field(description="`after` of the next page")
    more: bool = Field(description="false: these were all there are now")


class EventsSubscribeParams(Feed):
    after: Number | None = Field(default=None, description="left out: only what happens from now on")
    follow: bool = Field(default=True, description="false: end after what there is now")


class EventsSubscribeResult(Noun):
    subscription: str
    after: int


class EventsUnsubscribeParams(Params):
    subscription: str


class EventsEnd(Noun):
    """The last message of a subscription."""

    subscription: str
    reason: Literal["unsubscribed", "complete", "session_deleted", "shutting_down", "failed"]
    after: int = Field(description="the last event sent: subscribe again after it")
    message: str = ""


EVENT = "event"
"""The notification that carries an event."""
EVENTS_END = "events.end"
"""The notification that ends a subscription."""
