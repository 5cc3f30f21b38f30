"""The rooms and settings that all live sessions share."""

from typing import NamedTuple

from ..current import Current
from ..store import Store
from .launch import Launches
from .places import Places
from .records import Records


class Shared(NamedTuple):
    """Shared by all live sessions; a daemon has one."""

    settings: Current
    store: Store
    records: Records
    launches: Launches
    places: Places
