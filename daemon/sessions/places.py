"""The places of the turns that run at once, as a live session sees them."""

from typing import Protocol


class Places(Protocol):
    """All by session, which has at most one turn that runs or waits."""

    def begun(self, session: str) -> None:
        """Its turn runs, on disk."""

    def ended(self, session: str, *, ok: bool) -> None:
        """Its turn has ended; not ``ok``: in a way that asks for a pause."""

    async def take(self, session: str) -> None:
        """Wait for a place for its turn, which is to go on; :meth:`begun` says that it does."""

    def give_back(self, session: str) -> None:
        """Its turn does not go on after all."""
