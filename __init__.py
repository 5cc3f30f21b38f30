"""roost: the supervisor for AI-agent sessions.

- ``protocol``  what every side may say: models, methods, events, framing, errors
- ``daemon``    ``roostd``: sessions, store, queue, server (imports ``protocol`` only)
- ``worker``    what runs in a session's child: the SDK, ``shell``, ``thinking``
- ``client``    the ``roost`` command and the Trio client for tools
"""

__version__ = "0.1.0.dev0"
