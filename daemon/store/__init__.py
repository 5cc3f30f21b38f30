"""All that lasts: SQLite, one writer with group commit, reads on the side. One file a noun; ``store`` is the door.

Operations are plain functions ``(tx, ...)`` that ``Store.write`` runs on the writer's thread; queries take a
connection and run under ``Store.read``.
"""

from .children import Child
from .database import identity
from .store import Store
from .tx import Commit, Stored, Tx

__all__ = ["Child", "Commit", "Store", "Stored", "Tx", "identity"]
