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


def imports(path: Path) -> Iterator[Path]:
    """The files of ``daemon/`` that a file imports: at its top, late, and for type checkers alone."""
    package = path.parent
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.joinpath(*[".."] * (node.level - 1)).resolve() / (node.module or "").replace(".", "/")
            for name in node.names:
                found = [base / f"{name.name}.py", base / name.name / "__init__.py", base.with_suffix(".py")]
                yield from [file for file in [*found, base / "__init__.py"] if file.exists()][:1]


def test_the_imports_of_the_daemon_have_no_circle() -> None:
    graph = {path: {file for file in imports(path) if file != path} for path in sources("daemon")}
    while leaves := [path for path, below in graph.items() if not below & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert [place(path, 0) for path in graph] == [], "each of these leads back to itself"


RECORDS = {"NamedTuple", "BaseModel", "Section", "TypedDict", "StrEnum", "Protocol", "Noun", "Params", "Exception"}


def behaving(path: Path) -> Iterator[ast.ClassDef]:
    """The classes of a file that are no records."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
            decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not bases & RECORDS and not decorated:
                yield node


def methods(node: ast.ClassDef) -> list[ast.stmt]:
    return [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]


def attributes(node: ast.ClassDef) -> set[str]:
    """What its methods set on ``self``."""
    targets = [
        target
        for part in ast.walk(node)
        if isinstance(part, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (part.targets if isinstance(part, ast.Assign) else [part.target])
    ]
    flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return {
        one.attr
        for one in flat
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self"
    }


def test_no_class_of_the_daemon_does_too_much() -> None:
    found = {
        f"{place(path, node.lineno)} {node.name}": (len(methods(node)), len(attributes(node)))
        for path in sources("daemon")
        for node in behaving(path)
    }
    assert {name: counts for name, counts in found.items() if counts[0] > 20 or counts[1] > 12} == {}
