"""docs/operations.md knows every setting, with the default that it has."""

import re
import tomllib
from pathlib import Path

from pydantic_core import PydanticUndefined

from roost.daemon.settings import SECTIONS, EngineSettings

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
SETTINGS = PAGE.partition("## Settings")[2]


def understood(section: str, key: str, default: str) -> object:
    """A default as the page has it, in TOML, as the settings understand it."""
    required = {"state_directory": "/state", "socket": "/socket"} if section == "daemon" else {}
    table = required | {key: tomllib.loads(f"value = {default}")["value"]}
    return getattr(SECTIONS[section].model_validate(table), key)


def test_every_setting_stands_in_the_page_with_its_default() -> None:
    rows: list[tuple[str, str]] = re.findall(r"^\| `(\w+\.\w+)` \| `?(.*?)`? ?\|", SETTINGS, re.MULTILINE)
    documented = {key: default or None for key, default in rows}
    known = {f"{name}.{key}" for name, model in SECTIONS.items() for key in model.model_fields}
    assert documented.keys() == known
    for name, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            default = documented[f"{name}.{key}"]
            if default is None:
                assert field.default in (None, PydanticUndefined), key
            else:
                assert understood(name, key, default) == field.default, key


def test_every_key_of_an_engine_stands_in_the_page() -> None:
    table = PAGE.partition("[engines.NAME]")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(EngineSettings.model_fields)
