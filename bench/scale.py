"""How much is measured."""

from typing import NamedTuple


class Scale(NamedTuple):
    """Counts, and lengths in seconds."""

    sessions: int = 200
    rounds: int = 10_000
    in_flight: int = 200_000
    lists: int = 200
    commands: int = 30
    looks: int = 20
    starts: int = 20
    settle: float = 12.0
    """Trio keeps a thread that has nothing to do for 10 s."""
    idle: float = 10.0
    ticks: int = 4_000
    events: int = 1_500
    """Of each session at once."""
    subscribers: int = 100
    published: int = 20_000
    sent: int = 500
    queued: int = 2_000
    queued_long: int = 20_000
    spawnings: int = 3
    crash: float = 20.0
    workers: int = 1_000
    together: bool = False
    """All parts on one daemon, where it does not matter what one of them leaves to the next."""


FULL = Scale()
SMALL = Scale(
    sessions=2,
    rounds=100,
    in_flight=1_000,
    lists=10,
    commands=1,
    looks=2,
    starts=1,
    settle=0.1,
    idle=0.5,
    ticks=200,
    events=100,
    subscribers=2,
    published=500,
    sent=10,
    queued=50,
    queued_long=100,
    spawnings=1,
    crash=0.5,
    workers=4,
    together=True,
)
"""Shows that everything still runs; its figures mean nothing."""
