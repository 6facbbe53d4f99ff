"""What became of each case, as lines of JSON: what `docs/reliability.md` is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = "HOLDFAST_CRASH_RESULTS"
"""The file that cases are written to; nothing is written without it."""


@dataclass
class Row:
    """One case."""

    was_passed: bool = False
    """Whether the process came by its point, and died there."""


class Rows:
    """A file of cases."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None

    @contextmanager
    def of(self, spec: str, stage: str, house: Any) -> Iterator[Row]:
        """Write down what became of a case, whether it went well or not.

        Args:
            spec: The fault: `settle.before_commit:kill:1`.
            stage: Where the process was to die: in a `call`, in a `start` that puts things right, in a `sweep`.
            house: Where it was tried; None where there were no calls.
        """
        row = Row()
        is_well = False
        try:
            yield row
            is_well = True
        finally:
            self._write(spec, stage, row, house, is_well=is_well)

    def _write(self, spec: str, stage: str, row: Row, house: Any, *, is_well: bool) -> None:
        if self._path is None:
            return
        point, _, nth = spec.split(":")
        case = {
            "point": point,
            "nth": int(nth),
            "stage": stage,
            "died": row.was_passed,
            "pass": is_well,
            "kills": 1 if house is None else house.deaths,
            **({} if house is None else house.found),
        }
        with self._path.open("a") as file:
            file.write(json.dumps(case) + "\n")
