"""Clients: the socket, who may use it, connections, a handler for each method, subscriptions.

The path of a request: ``server`` accepts → ``connection`` reads and splits → ``params`` validates → the method's own
function in ``handlers`` → ``answer`` encodes → ``outgoing`` sends. Events come from the store through ``hub`` to
``subscription``.
"""

from .server import Info, Server
from .socket import bind, heard

__all__ = ["Info", "Server", "bind", "heard"]
