"""``engine.*``: the engines that a session can have."""

from ....protocol.model import Engine, EngineKind
from ....protocol.params import Nothing
from ....protocol.service import EngineListResult
from ..client import Client


def engine_list(client: Client, params: Nothing) -> EngineListResult:
    settings = client.rooms.settings
    default = settings.sessions.default_engine
    return EngineListResult(
        engines=[
            Engine(name=name, kind=EngineKind(one.kind), command=list(one.command), default=name == default)
            for name, one in sorted(settings.engines.items())
        ]
    )
