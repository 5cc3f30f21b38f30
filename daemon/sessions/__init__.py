"""Owners of turns and children: the supervisor (verbs), the registry, one task a live session, the queue runner, the
sweepers, and the stop of them all."""

from .supervisor import Supervisor

__all__ = ["Supervisor"]
