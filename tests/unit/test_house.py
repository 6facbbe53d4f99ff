"""The house rules that no linter knows: sizes, import directions, purity, and errors that are never swallowed."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "holdfast"
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600

CORE = {"types", "errors", "money", "config", "wire", "policy", "ledger", "generation", "providers"}
AROUND = {"clock", "faults", "log", "threads"}
# Package -> what it may import besides itself. Core ← transport, store ← engine ← gateway ← cli.
ARROWS: dict[str, set[str]] = {
    "types": set(),
    "errors": {"types"},
    "money": {"types", "errors"},
    "clock": set(),
    "faults": set(),
    "log": set(),
    "threads": set(),
    "config": {"types", "errors", "money"},
    "wire": {"types", "errors", "money"},
    "policy": {"types", "errors", "money", "config"},
    "ledger": {"types", "errors", "money"},
    "generation": {"types", "errors", "money"},
    "providers": CORE - {"providers"},
    "transport": CORE | AROUND,
    "store": CORE | AROUND,
    "engine": CORE | AROUND | {"transport", "store"},
    "telemetry": CORE | AROUND,
    "gateway": CORE | AROUND | {"store", "engine", "transport", "telemetry"},
    "client": CORE | {"clock", "transport"},
    "simulator": {"types", "errors", "wire", "policy", "config", "money", "clock", "log"},
    # Plays policies against the simulator's scenarios, in virtual time; of the engine only what it has learnt.
    "whatif": CORE | {"simulator", "engine"},
    "batch": CORE,
    # Programs for other clients: the core's numbers, filled into templates.
    "recipes": {"types", "errors", "money", "config", "policy"},
    # Opens its own connections: a library's would hide what it looks for.
    "doctor": CORE | {"clock"},
    "cli": CORE
    | AROUND
    | {"transport", "store", "engine", "gateway", "simulator", "whatif", "client", "batch", "recipes", "doctor"},
    "__init__": {"errors", "types", "client"},
    "__main__": {"cli"},
}
# What a pure module has no business with. `config/load.py` reads the one settings file.
IMPURE = {
    *("asyncio", "http", "logging", "multiprocessing", "os", "random", "secrets", "select", "selectors", "shutil"),
    *("signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request"),
    *("aiohttp", "httptools", "uvicorn", "uvloop"),
}


def python_files(*folders: str) -> list[Path]:
    """List the project's own Python files, scripts without a suffix included."""
    found: list[Path] = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder).parts
            if any(part.startswith(".") or part in ("__pycache__", "results") for part in inside):
                continue
            if path.suffix == ".py" or (folder == "scripts" and path.is_file() and is_python_script(path)):
                found.append(path)
    return found


def is_python_script(path: Path) -> bool:
    """Tell a script by its first line."""
    with path.open("rb") as file:
        return b"python" in file.readline()


KINDS = (ast.Import, ast.ImportFrom, ast.ExceptHandler, ast.Call)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, kw_only=True)
class Function:
    """What the rules ask of a function."""

    name: str
    line: int
    lines: int
    """Without its docstring."""
    says_something: bool


@cache
def looked_at(path: Path) -> tuple[tuple[Function, ...], tuple[ast.AST, ...]]:
    """Give a file's functions, and where it is shipped the nodes that have rules.

    Each file is parsed and walked through once for all rules, and what none of them asks for is not kept: a collector
    that looks through the trees of a thousand files takes longer than all of the rules.
    """
    tree = ast.parse(path.read_text("utf-8"), str(path))
    functions: list[Function] = []
    nodes: list[ast.AST] = []
    is_shipped = path.is_relative_to(SOURCE)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            functions.append(function_of(node))
        elif is_shipped and isinstance(node, KINDS):
            nodes.append(node)
    return tuple(functions), tuple(nodes)


def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Give the nodes of a shipped file that have rules."""
    return looked_at(path)[1]


def function_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    """Count a function's lines, its docstring left out."""
    assert function.end_lineno is not None
    count = function.end_lineno - function.lineno + 1
    first = function.body[0]
    says_something = False
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        count -= first.end_lineno - first.lineno + 1
        says_something = True
    return Function(name=function.name, line=function.lineno, lines=count, says_something=says_something)


def shown(path: Path) -> str:
    """Name a file as people do."""
    return str(path.relative_to(ROOT))


EVERYWHERE = python_files("src", "tests", "scripts", "lab")


def test_no_function_is_longer_than_a_screen() -> None:
    """A function that does not fit on a screen does more than one thing."""
    long = [
        f"{shown(path)}:{each.line} {each.name}: {each.lines} lines"
        for path in EVERYWHERE
        for each in looked_at(path)[0]
        if each.lines > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_file_holds_more_than_one_idea() -> None:
    """A file of more than 600 lines is two."""
    counts = {shown(path): len(path.read_text("utf-8").splitlines()) for path in EVERYWHERE}
    assert {name: count for name, count in counts.items() if count > FILE_LINES_MAX} == {}


def test_there_is_at_least_as_much_test_as_code() -> None:
    """What is not tested is not known to work."""
    code = sum(len(path.read_text("utf-8").splitlines()) for path in python_files("src"))
    tests = sum(len(path.read_text("utf-8").splitlines()) for path in python_files("tests"))
    assert tests >= code, f"{tests} lines of tests for {code} lines of code"


def package_of(path: Path) -> str:
    """The package, or the module, directly below `holdfast` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """List what a file imports, wherever in it, with the line."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: imports are absolute"
            module = node.module or ""
            if module == "holdfast":
                yield from ((node.lineno, f"holdfast.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def test_imports_point_one_way() -> None:
    """The core knows nothing of the shells, and no shell of the ones above it."""
    against: list[str] = []
    for path in python_files("src"):
        own = package_of(path)
        for line, name in imported(path):
            target = name.removeprefix("holdfast.").split(".")[0]
            is_ours = name.startswith("holdfast.") and target != "__version__"
            if is_ours and target != own and target not in ARROWS[own]:
                against.append(f"{shown(path)}:{line}: {own} must not know {target}")
    assert against == []


def test_every_package_has_its_place() -> None:
    """A new package is placed among the others before anything can import it."""
    packages = {package_of(path) for path in python_files("src")}
    assert packages <= set(ARROWS)


def test_arrows_have_no_circle() -> None:
    """A circle in the table would let two packages know each other."""
    done: set[str] = set()
    left = {name: set(targets) for name, targets in ARROWS.items()}
    while ready := {name for name, targets in left.items() if targets <= done}:
        done |= ready
        left = {name: targets for name, targets in left.items() if name not in ready}
    assert left == {}


def test_nothing_shipped_imports_tests_or_lab() -> None:
    """The package works without the repository around it."""
    strays = [
        f"{shown(path)}:{line}: {name}"
        for path in python_files("src")
        for line, name in imported(path)
        if name.split(".")[0] in ("tests", "lab", "pytest", "hypothesis")
    ]
    assert strays == []


def test_the_core_is_pure() -> None:
    """What decides does no I/O and reads no clock, so that it can be tested in microseconds."""
    impure = [
        f"{shown(path)}:{line}: {name}"
        for path in python_files("src")
        if package_of(path) in CORE | {"batch"}
        for line, name in imported(path)
        if name in IMPURE or name.split(".")[0] in IMPURE
    ]
    assert impure == []


BROAD = {"Exception", "BaseException"}


def is_silent(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler does nothing at all about what it caught.

    Leaving a loop at `queue.Empty`, or going on to the next header at `ValueError`, is doing something: the exception
    is that step's answer. At anything as wide as OSError it is not.
    """
    leaves = all(isinstance(statement, ast.Continue | ast.Break) for statement in handler.body)
    if leaves and not caught_names(handler) & {"OSError", *BROAD}:
        return False
    return all(
        isinstance(statement, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )


def caught_names(handler: ast.ExceptHandler) -> set[str]:
    """List the names of what a handler catches; a bare one catches BaseException."""
    if handler.type is None:
        return {"BaseException"}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(kind).split(".")[-1] for kind in kinds}


def handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    """List a file's handlers."""
    return (node for node in nodes_of(path) if isinstance(node, ast.ExceptHandler))


def test_no_exception_is_swallowed() -> None:
    """A handler that does nothing hides the one failure that mattered; `suppress` names what may be passed over."""
    silent = [
        f"{shown(path)}:{each.lineno}" for path in python_files("src") for each in handlers(path) if is_silent(each)
    ]
    assert silent == []


def test_catching_everything_has_a_reason_or_raises_again() -> None:
    """Catching all is for the borders of tasks and requests, and says so where it stands."""
    unexplained: list[str] = []
    for path in python_files("src"):
        lines = path.read_text("utf-8").splitlines()
        for each in handlers(path):
            raises = any(isinstance(node, ast.Raise) for node in ast.walk(each))
            has_reason = re.search(r"# noqa: BLE001\s*[-—:]\s*\w+", lines[each.lineno - 1]) is not None
            if caught_names(each) & BROAD and not raises and not has_reason:
                unexplained.append(f"{shown(path)}:{each.lineno}")
    assert unexplained == []


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_suppress_names_what_it_passes_over() -> None:
    """`suppress(Exception)` is a silent handler in other clothes."""
    broad = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files("src")
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and called(node) == "suppress"
        and {ast.unparse(argument).split(".")[-1] for argument in node.args} & BROAD
    ]
    assert broad == []


# Put together from pieces, so that this file does not find itself.
_FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.$}])/(?:" + "|".join(("work", "home", "Users")) + r")/\w",
            r"(?<![\w.$}])/" + r"root/\w",
            "pypi" + r"\.org",
            "pythonhosted" + r"\.org",
            "index" + r"-url",
        ]
    )
)
_TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".sql", ".json", ".svg", ".yml", ".yaml", ".conf", ".sh", ""}


def text_files() -> list[Path]:
    """List what is committed as text, as far as names tell."""
    tops = [path for path in ROOT.iterdir() if path.is_file()]
    below = [
        path for folder in ("src", "tests", "docs", "scripts", "lab", ".ci") for path in (ROOT / folder).rglob("*")
    ]
    skipped = {"__pycache__", "node_modules"}
    return [
        path
        for path in (*tops, *below)
        if path.is_file()
        and path.suffix in _TEXT_SUFFIXES
        and not any(
            part in skipped or (part.startswith(".") and part not in (".ci", ".gitignore"))
            for part in path.relative_to(ROOT).parts
        )
    ]


def test_nothing_names_a_machine_or_a_registry() -> None:
    """A clone works anywhere: no path of one machine, no address of one package registry."""
    named = [
        f"{shown(path)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        # Nearly always nothing is found, and no line need be looked at by itself.
        if _FOREIGN.search(text := path.read_text("utf-8", "replace"))
        for number, line in enumerate(text.splitlines(), 1)
        if _FOREIGN.search(line)
    ]
    assert named == []


@pytest.mark.parametrize("path", python_files("tests"), ids=shown)
def test_every_test_says_what_it_protects(path: Path) -> None:
    """A test's docstring is the behaviour that would be lost without it."""
    functions, _ = looked_at(path)
    bare = [each.name for each in functions if each.name.startswith("test_") and not each.says_something]
    assert bare == []


def test_pins_have_no_address_and_cover_what_is_required() -> None:
    """A pin is a name and a version; every direct dependency has one."""
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in pins)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    wanted = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in declared}
    assert wanted - pinned == set()
