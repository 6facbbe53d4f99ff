"""What the OpenAPI document says of `/v1/usage`. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.gateway.own_usage import PARAMETERS
from holdfast.types import Surface


def own_usage_paths(operation: Callable[..., dict[str, Any]], schema: dict[str, Any]) -> dict[str, Any]:
    """Describe the operations.

    Args:
        operation: `openapi._operation`, which knows what all of them have.
        schema: Of the answer.
    """

    def made(name: str, summary: str, ok: dict[str, Any]) -> dict[str, Any]:
        described = operation(name, summary, ok=ok, surface=Surface.GENERATIONS)
        described["parameters"] += [
            {"name": each, "in": "query", "required": False, "schema": stated, "description": means}
            for each, stated, means in PARAMETERS
        ]
        return described

    told = "What this key has used and what that cost it, by day (UTC), and how its budget stands"
    as_text = {"text/csv": {"schema": {"type": "string"}}}
    return {
        "/v1/usage": {"get": made("getOwnUsage", told, {"application/json": {"schema": schema}})},
        "/v1/usage.csv": {"get": made("getOwnUsageCsv", "The same for spreadsheets, without formulas", as_text)},
    }
