"""PURE: what a soak prints."""

from collections.abc import Iterator

from ..measure import MB
from .run import Soak

HEADS = ("life", "of", "first third", "last third", "most", "grew")
IN_MB = ("rss", "wal")


def lines(soak: Soak) -> Iterator[str]:
    yield "| " + " | ".join(HEADS) + " |"
    yield "|" + "---|" * len(HEADS)
    for number, life in enumerate(soak.lives, 1):
        what = f"{number}: {life.seconds:.0f} s, {life.ended}"
        if not life.findings:
            yield f"| {what} | too short to tell | | | | |"
        for found in life.findings:
            middle = " | ".join(_told(found.what, value) for value in (found.first, found.last, found.most))
            yield f"| {what} | {found.what} | {middle} | {'YES' if found.grew else 'no'} |"
    yield from _counts(soak)
    yield from soak.problems
    yield _verdict(soak)


def _told(what: str, value: float) -> str:
    return f"{value / MB:.1f} MB" if what in IN_MB else f"{value:.0f}"


def _counts(soak: Soak) -> Iterator[str]:
    ledger, visitors = soak.ledger, soak.visitors
    ends = ", ".join(f"{count} {kind.removeprefix('turn.')}" for kind, count in sorted(ledger.ends.items()))
    yield f"{len(ledger.acknowledged)} turns of {soak.plan.sessions} sessions: {ends}."
    yield f"{soak.work.killed} children killed."
    yield (
        f"{soak.auditor.count} events, all seen by one subscriber; {sum(one.count for one in soak.slow)} by"
        f" {len(soak.slow)} slow ones, {sum(one.count for one in soak.sleepers)} by {len(soak.sleepers)} that were"
        f" stopped now and then, {visitors.count} in {visitors.visits} visits."
    )


def _verdict(soak: Soak) -> str:
    if soak.problems:
        return f"{len(soak.problems)} problems."
    grown = "no growth" if any(life.findings for life in soak.lives) else "too short to tell whether something grows"
    return f"Nothing lost, nothing left, no event missing or double; {grown}."
