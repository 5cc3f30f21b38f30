"""``engine.*``: what a session can be run with."""

from typing import TYPE_CHECKING

from ....protocol.methods import EngineListResult
from ....protocol.model import Engine, EngineKind
from ....protocol.params import Nothing

if TYPE_CHECKING:
    from ..connection import Connection


def engine_list(client: "Connection", params: Nothing) -> EngineListResult:
    settings = client.server.settings
    default = settings.sessions.default_engine
    return EngineListResult(
        engines=[
            Engine(name=name, kind=EngineKind(one.kind), command=list(one.command), default=name == default)
            for name, one in sorted(settings.engines.items())
        ]
    )
