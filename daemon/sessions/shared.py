"""What all live sessions share."""

from typing import NamedTuple

from ..current import Current
from ..store import Store
from .launch import Launches
from .places import Places
from .records import Records


class Shared(NamedTuple):
    """One a daemon."""

    settings: Current
    store: Store
    records: Records
    launches: Launches
    places: Places
