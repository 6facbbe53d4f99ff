"""What the doctor concludes is pure: only two of its modules touch the network."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import holdfast.doctor

FOLDER = Path(holdfast.doctor.__file__).parent
SHELLS = {"probing.py", "examine.py"}
IMPURE = {"asyncio", "os", "random", "socket", "ssl", "subprocess", "sys", "time", "secrets", "logging"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_what_concludes_does_no_io(path: Path) -> None:
    """Nor reads a clock; the package says which of its modules do."""
    assert holdfast.doctor.__doc__ is not None
    tree = ast.parse(path.read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    is_pure = not imported & IMPURE and "holdfast.clock" not in imported
    assert is_pure is (path.name not in SHELLS)
    assert path.name == "__init__.py" or f"`{path.stem}`" in holdfast.doctor.__doc__
