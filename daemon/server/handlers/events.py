"""``events.*``: pages of them, and feeds."""

from functools import partial

from ....protocol.errors import InvalidParams, LimitReached, SubscriptionNotFound, SubscriptionOverlap
from ....protocol.events import EVENTS
from ....protocol.feeds import (
    EventsReadParams,
    EventsSubscribeParams,
    EventsSubscribeResult,
    EventsUnsubscribeParams,
    Feed,
)
from ....protocol.params import Done
from ...store import reads
from ..answer import PAGE_BYTES, Packed, Then, packed_list
from ..client import Client
from ..params import nearest, shown
from ..subscription import Subscription

MOST_SUBSCRIPTIONS = 256
"""Of one connection."""
_KINDS = [*EVENTS, *{kind.partition(".")[0] + "." for kind in EVENTS}]


async def events_read(client: Client, params: EventsReadParams) -> Packed:
    _check_kinds(params)
    session = params.session
    events, following, more = await client.read(
        lambda conn: reads.events(conn, session, params.after, params.limit, params.kinds or None, PAGE_BYTES)
    )
    return packed_list("events", [event.packed for event in events], next=following, more=more)


async def events_subscribe(client: Client, params: EventsSubscribeParams) -> Then:
    _check_kinds(params)
    session = params.session
    _check_room(client, session)
    subscription = Subscription(client, session, params.kinds or None)
    try:
        last = await client.read(lambda conn: reads.last(conn, session))
        subscription.cursor = _start(params.after, last)
    except BaseException:
        client.forget(subscription)
        raise
    result = EventsSubscribeResult(subscription=subscription.id, after=subscription.cursor)
    return Then(result, partial(client.start, partial(subscription.run, last, params.follow)))


def events_unsubscribe(client: Client, params: EventsUnsubscribeParams) -> Then:
    subscription = client.subscriptions.get(params.subscription)
    if subscription is None:
        text = f"this connection has no subscription {shown(params.subscription)}; it may have ended before"
        raise SubscriptionNotFound(text, subscription=shown(params.subscription))
    return Then(Done(), partial(subscription.end, "unsubscribed"))


def _check_kinds(params: Feed) -> None:
    for kind in params.kinds or ():
        if kind not in _KINDS:
            meant = nearest(kind, _KINDS)
            hint = f"did you mean {meant!r}?" if meant else "give a kind, or a noun and its dot, as 'turn.'"
            raise InvalidParams(f"there are no events of kind {shown(kind)!r}; {hint}", field="kinds", kind=shown(kind))


def _check_room(client: Client, session: str | None) -> None:
    feeds = [subscription.session for subscription in client.subscriptions.values()]
    if session in feeds or (feeds and session is None) or None in feeds:
        text = (
            f"this connection follows {'all events' if None in feeds else session or 'a session'} already;"
            " unsubscribe first, or use another connection"
        )
        raise SubscriptionOverlap(text, session=session)
    if len(feeds) >= MOST_SUBSCRIPTIONS:
        text = f"a connection has at most {MOST_SUBSCRIPTIONS} subscriptions; follow all = true instead"
        raise LimitReached(text, limit=MOST_SUBSCRIPTIONS)


def _start(after: int | None, last: int) -> int:
    if after is not None and after > last:
        text = f"after is {after} and the last event is {last}: that number is of another database; use {last} at most"
        raise InvalidParams(text, field="after", after=after, last=last)
    return last if after is None else after
