"""Secrets are resolved when they are needed, and never shown."""

from pathlib import Path

import pytest

from roost.daemon.settings import secrets
from roost.protocol.errors import SecretMissing


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a credential\n")
    (tmp_path / "token").write_text("two\nlines\n")
    environ = {"MINE": "from a variable", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    env_from = {"A": "env:MINE", "B": "credential:key", "C": f"file:{tmp_path}/token"}
    assert secrets(env_from, environ) == {"A": "from a variable", "B": "from a credential", "C": "two\nlines"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("env:THEIRS", "THEIRS is not set"),
        ("credential:key", "CREDENTIALS_DIRECTORY is not set"),
        ("file:/no/such/file", "No such file or directory"),
        ("file:/", "Is a directory"),
    ],
)
def test_missing_names_the_variable_and_the_source(source: str, reason: str) -> None:
    with pytest.raises(SecretMissing) as caught:
        secrets({"KEY": source}, {})
    assert caught.value.data == {"variable": "KEY", "source": source, "reason": reason}
    assert "KEY" in caught.value.message and source in caught.value.message


@pytest.mark.parametrize(("content", "reason"), [(b"s3cret\0", "a zero byte"), (b"s3cret\xff", "not UTF-8")])
def test_unusable_value_is_not_shown(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretMissing) as caught:
        secrets({"KEY": f"file:{tmp_path}/key"}, {})
    assert reason in caught.value.message
    assert "s3cret" not in repr(caught.value.to_wire())
    assert caught.value.__cause__ is None and "s3cret" not in repr(caught.value.__context__)
