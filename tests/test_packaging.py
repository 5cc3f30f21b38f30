"""What `pip install` puts on a machine: the package roost, its two commands, and nothing else."""

import configparser
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import roost

ROOT = Path(__file__).parents[1]


BUILD = """
import importlib, json, sys
backend = importlib.import_module(sys.argv[1])
print(json.dumps([backend.build_wheel(sys.argv[2]), backend.build_editable(sys.argv[3])]))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[zipfile.ZipFile, zipfile.ZipFile]:
    """The wheel of this checkout and that of an editable install, built as pip does: by the back end's two hooks."""
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["build-backend"]
    folders = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("editable")
    command = [sys.executable, "-c", BUILD, backend, *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=120, stdout=subprocess.PIPE)
    whole, editable = (folder / name for folder, name in zip(folders, json.loads(done.stdout), strict=True))
    return zipfile.ZipFile(whole), zipfile.ZipFile(editable)


@pytest.fixture(scope="module")
def wheel(wheels: tuple[zipfile.ZipFile, zipfile.ZipFile]) -> zipfile.ZipFile:
    return wheels[0]


def test_only_roost_is_installed_at_top_level(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "roost",
        f"roost-{roost.__version__}.dist-info",
    }


def test_every_source_file_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    rooms = ["protocol", "daemon", "worker", "client"]
    kinds = {".py", ".sql"}
    sources = {path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in kinds}
    expected = {f"roost/{path.relative_to(ROOT)}" for path in sources}
    shipped = set(wheel.namelist())
    assert expected | {"roost/__init__.py", "roost/py.typed"} <= shipped
    assert not [name for name in shipped if "__pycache__" in name]


def test_the_units_are_in_the_wheel_and_in_an_editable_install(wheel: zipfile.ZipFile) -> None:
    """`roost daemon install` takes them from beside the package's other folders."""
    units = {str(path.relative_to(ROOT)) for path in (ROOT / "systemd").rglob("*") if path.is_file()}
    assert {"systemd/roost.service", "systemd/roost@.service.d/strict.conf"} <= units
    assert {name.removeprefix("roost/") for name in wheel.namelist() if name.startswith("roost/systemd/")} == units
    assert (ROOT / "src" / "roost" / "systemd" / "roost.socket").samefile(ROOT / "systemd" / "roost.socket")


def test_both_commands_are_there_and_lead_somewhere(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(f"roost-{roost.__version__}.dist-info/entry_points.txt").decode())
    scripts = dict(entries["console_scripts"])
    assert set(scripts) == {"roost", "roostd"}
    for target in scripts.values():
        module = target.partition(":")[0].replace(".", "/")
        assert f"{module}.py" in wheel.namelist()


def test_the_licence_is_shipped(wheel: zipfile.ZipFile) -> None:
    assert f"roost-{roost.__version__}.dist-info/licenses/LICENSE" in wheel.namelist()


def test_an_editable_install_leads_to_src_and_nowhere_else(wheels: tuple[zipfile.ZipFile, zipfile.ZipFile]) -> None:
    _, editable = wheels
    (pth,) = (name for name in editable.namelist() if ".dist-info/" not in name)
    assert editable.read(pth).decode().split() == [str(ROOT / "src")]
