"""Sizes as people write them: read exactly, refused when in doubt, shown so that they can be read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.protocol.sizes import LARGEST, parse, shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("7B", 7),
        ("1K", 1024),
        ("512MiB", 512 * 1024**2),
        (" 2 GiB ", 2 * 1024**3),
        ("1G", 1024**3),
        ("1g", 1024**3),
        ("1.5G", 3 * 1024**3 // 2),
        ("2T", 2 * 1024**4),
    ],
)
def test_read(text: str, size: int) -> None:
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "G", "5GB", "5 MB", "-1", "1e9", "1.2.3", "0x10", "two", "٣", "1 2"])
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size: write 512MiB, 2GiB or 1G"):
        parse(text)


@pytest.mark.parametrize("text", ["0", "0G", "0.0001", "9999999T", "9" * 5000, "9" * 400 + ".0"])
def test_too_small_and_too_large(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 byte to 8 EiB"):
        parse(text)


@given(st.integers(1, LARGEST))
def test_what_is_shown_is_read_back(size: int) -> None:
    assert parse(shown(size)) == size


def test_shown_is_short() -> None:
    assert [shown(size) for size in (1000, 1024, 2 * 1024**3, 1536 * 1024**2)] == ["1000", "1KiB", "2GiB", "1536MiB"]
