"""``engine.*``: what a session can be run with."""

from typing import TYPE_CHECKING

from ....protocol.methods import EngineListResult
from ....protocol.params import Nothing

if TYPE_CHECKING:
    from ..connection import Connection


def engine_list(client: "Connection", params: Nothing) -> EngineListResult:
    return EngineListResult(engines=client.server.info.engines)
