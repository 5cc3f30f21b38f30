"""The house rules that no linter knows: sizes, import style, and few, well-reasoned coverage pragmas."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ["protocol", "daemon", "worker", "client"]


def sources(*folders: str) -> Iterator[Path]:
    """Every Python file below these folders of the checkout."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def place(path: Path, line: int) -> str:
    """A place as an editor understands it."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_no_file_is_over_400_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources(*ROOMS, "tests", "bench")}
    assert [place(path, length) for path, length in lengths.items() if length > 400] == []


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All below it; there are none in expressions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from functions(child)


def test_no_function_is_over_50_lines() -> None:
    long = [
        place(path, node.lineno)
        for path in sources(*ROOMS)
        if (text := path.read_text()).count("\n") >= 50
        for node in functions(ast.parse(text))
        if (node.end_lineno or node.lineno) - node.lineno >= 50
    ]
    assert long == []


def test_rooms_import_each_other_relatively() -> None:
    absolute = re.compile(rf"\s*(from|import) ({'|'.join([*ROOMS, 'roost'])})\b(?!-)")
    offences = [
        place(path, number)
        for path in sources(*ROOMS)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if absolute.match(line)
    ]
    assert offences == []


def test_at_most_ten_lines_are_excused_from_coverage_each_with_its_reason() -> None:
    excused = {
        place(path, number): line.partition("no cover")[2]
        for path in sources(*ROOMS)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "no cover" in line or "no branch" in line
    }
    assert len(excused) <= 10, sorted(excused)
    unreasoned = [where for where, reason in excused.items() if len(re.findall(r"\w+", reason)) < 3]
    assert unreasoned == [], "write: # pragma: no cover - why it cannot be reached"


def test_folders_of_tests_that_mirror_a_room_are_packages() -> None:
    # Otherwise mypy takes tests/daemon/store for a part of daemon/store.
    folders = {path.parent for path in sources(*(f"tests/{room}" for room in ROOMS))}
    assert [place(folder, 0) for folder in folders if not (folder / "__init__.py").exists()] == []
