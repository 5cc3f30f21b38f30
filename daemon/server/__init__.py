"""Clients: the socket, who may use it, connections, a handler for each method, subscriptions.

The path of a request: ``server`` accepts → ``connection`` reads and splits → ``dispatch`` admits it, validates it and
resolves its references → the method's own function in ``handlers``, which sees a ``client`` → ``answer`` encodes →
``outgoing`` sends. Events come from the store through ``hub`` to ``subscription``.
"""

from .client import Info, Rooms
from .server import Server
from .socket import bind, listened_on

__all__ = ["Info", "Rooms", "Server", "bind", "listened_on"]
