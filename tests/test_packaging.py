"""What `pip install` puts on a machine: the package roost, its two commands, and nothing else."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import roost

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built offline by the environment's own hatchling."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


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


def test_an_editable_install_leads_to_src_and_nowhere_else(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; hatchling.build.build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as editable:
        (pth,) = (name for name in editable.namelist() if ".dist-info/" not in name)
        assert editable.read(pth).decode().split() == [str(ROOT / "src")]
