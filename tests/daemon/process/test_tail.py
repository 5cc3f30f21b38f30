"""The last lines of stderr, in bounds."""

import tracemalloc

from roost.daemon.process.tail import KEPT_BYTES, Tail


def test_only_the_end_is_kept() -> None:
    tail = Tail()
    for n in range(10_000):
        tail.add(f"line {n}\n".encode())
    text = tail.text()
    assert text.endswith("line 9999\n") and KEPT_BYTES - 10 <= len(text) <= KEPT_BYTES
    tail.add(b"x" * 100_000)
    assert tail.text() == "x" * KEPT_BYTES


def test_what_is_not_kept_takes_no_memory() -> None:
    tail = Tail()
    tracemalloc.start()
    try:
        for _ in range(10_000):
            tail.add(b"x" * 1000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tail.text() == "x" * KEPT_BYTES and kept < 10 * KEPT_BYTES


def test_what_is_not_utf_8_is_shown_all_the_same() -> None:
    tail = Tail()
    tail.add(b"caf\xe9\n")
    assert tail.text() == "caf\ufffd\n"


def test_what_is_replaced_does_not_make_it_longer() -> None:
    tail = Tail()
    tail.add(b"\xff" * KEPT_BYTES)
    assert len(tail.text().encode()) <= KEPT_BYTES
