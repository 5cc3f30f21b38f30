"""Pages of stderr are cut at bytes; what a person reads is cut at no character."""

from hypothesis import given
from hypothesis import strategies as st

from roost.client.stderr import Text

pieces = st.lists(st.binary(max_size=12) | st.sampled_from(["é".encode(), "€".encode(), "🐓".encode(), b"\xf0\x9f"]))


@given(pieces, st.integers(1, 9))
def test_pages_of_any_size_are_the_whole_decoded_at_once(pieces: list[bytes], limit: int) -> None:
    data, text = b"".join(pieces), Text()
    told = ""
    for at in range(0, len(data), limit):
        told += text.of({"data": data[at : at + limit]}, whole=at + limit >= len(data))
    assert told == data.decode("utf-8", "replace")


def test_a_follower_waits_for_the_rest_of_a_character() -> None:
    text = Text()
    assert text.of({"data": b"a\xe2\x82"}, whole=False) == "a"
    assert text.of({"data": b"\xacb"}, whole=False) == "€b"
