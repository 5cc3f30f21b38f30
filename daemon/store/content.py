"""The content of items: pieces of UTF-8 while it grows; at the end inline, or its head and tail if it is long."""

import sqlite3

from ...protocol.model import Item, ItemState

INLINE = 256 * 1024
"""Bytes up to which an item's content stands whole in its record."""
_END = INLINE // 2


def append(conn: sqlite3.Connection, item: str, start: int, data: bytes) -> None:
    conn.execute("INSERT INTO chunks VALUES (?, ?, ?)", (item, start, data))


def border(data: bytes, at: int) -> int:
    """The last place up to ``at`` where no character is cut."""
    at = min(at, len(data))
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def grown(conn: sqlite3.Connection, item: Item) -> Item:
    """``item`` with the content that its pieces hold by now."""
    if item.kept <= INLINE:
        content, tail = read(conn, item, 0, item.kept).decode(), ""
    else:
        content, tail = _head(conn, item), _tail(conn, item)
    truncated = bool(tail) or item.kept < item.bytes
    return item.model_copy(update={"content": content, "tail": tail, "truncated": truncated})


def _head(conn: sqlite3.Connection, item: Item) -> str:
    data = read(conn, item, 0, _END + 1)
    return data[: border(data, _END)].decode()


def _tail(conn: sqlite3.Connection, item: Item) -> str:
    data = read(conn, item, item.kept - _END, item.kept)
    begin = next(at for at, byte in enumerate(data) if byte & 0xC0 != 0x80)
    return data[begin:].decode()


def drop_inline(conn: sqlite3.Connection, item: Item) -> None:
    """Remove the pieces of an ended item whose record has all of them."""
    if item.kept <= INLINE:
        conn.execute("DELETE FROM chunks WHERE item = ?", (item.id,))


def replaced(conn: sqlite3.Connection, item: Item, text: str, dropped: int) -> dict[str, object]:
    """The fields of an ended item that has this text, at most :data:`INLINE` bytes, in place of its content."""
    conn.execute("DELETE FROM chunks WHERE item = ?", (item.id,))
    kept = len(text.encode())
    return {"content": text, "tail": "", "kept": kept, "bytes": kept + dropped, "truncated": dropped > 0}


def read(conn: sqlite3.Connection, item: Item, start: int, stop: int) -> bytes:
    """Bytes ``start`` to ``stop`` of what is kept."""
    if item.state is not ItemState.in_progress and item.kept <= INLINE:
        return item.content.encode()[start:stop]
    rows = conn.execute(_PIECES, (item.id, item.id, start, stop)).fetchall()
    if not rows:
        return b""
    first = rows[0][0]
    return b"".join(data for _, data in rows)[start - first : stop - first]


_PIECES = """
    SELECT start, data FROM chunks
    WHERE item = ? AND start >= (SELECT max(start) FROM chunks WHERE item = ? AND start <= ?) AND start < ?
    ORDER BY start
"""
