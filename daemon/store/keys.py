"""Keys of the clients' choice: the same key again is the same request. Bounded by count and age."""

from hashlib import blake2b
from typing import Any

from ...protocol.errors import KeyConflict
from ...protocol.rpc import pack
from .tx import Tx

MAX_KEYS = 100_000
MAX_AGE = 7 * 24 * 3600 * 1000
"""ms that a key is remembered."""


def recall(tx: Tx, scope: str, key: str | None, content: Any) -> str | None:
    """The id that the first request with this key made; None if this is the first.

    Raises:
        KeyConflict: the key was used for something else.
    """
    if key is None:
        return None
    row = tx.conn.execute("SELECT hash, result FROM keys WHERE scope = ? AND key = ?", (scope, key)).fetchone()
    if row is None:
        return None
    if row[0] != _hash(content):
        raise KeyConflict(f"the key {key!r} was used for another {scope}; use a new key", key=key, result=row[1])
    return str(row[1])


def remember(tx: Tx, scope: str, key: str | None, content: Any, result: str) -> None:
    """Keep what this key made, and forget a few of the oldest if they are too many or too old."""
    if key is None:
        return
    values = (scope, key, _hash(content), result, tx.now)
    n = tx.conn.execute(
        "INSERT OR REPLACE INTO keys (scope, key, hash, result, at) VALUES (?, ?, ?, ?, ?)", values
    ).lastrowid
    oldest = "SELECT n FROM keys WHERE n <= ? OR at < ? ORDER BY n LIMIT 2"
    tx.conn.execute(f"DELETE FROM keys WHERE n IN ({oldest})", ((n or 0) - MAX_KEYS, tx.now - MAX_AGE))


def _hash(content: Any) -> bytes:
    return blake2b(pack(content), digest_size=16).digest()
