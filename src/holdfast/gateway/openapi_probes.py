"""What the OpenAPI document says of `/v1/probe/…`. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.types import Surface
from holdfast.wire.probe import INTERIMS, PROBE_ID, SECONDS_MAX, SECONDS_MIN

_SECONDS: dict[str, Any] = {"type": "number", "minimum": SECONDS_MIN, "maximum": SECONDS_MAX}


def probe_paths(
    operation: Callable[..., dict[str, Any]], held: dict[str, Any], report: dict[str, Any], echo: dict[str, Any]
) -> dict[str, Any]:
    """Describe the operations.

    Args:
        operation: `openapi._operation`, which knows what all of them have.
        held: Schema of a probe's answer.
        report: Schema of what is remembered of one.
        echo: Schema of an echo.
    """

    def made(name: str, summary: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
        ok = {"application/json": {"schema": schema}}
        return operation(name, summary, ok=ok, surface=Surface.GENERATIONS, **more)

    hold = made(
        "holdProbe",
        "Be held, in silence or with beats, and answered: what a path does to a slow call, without an image",
        held,
        codes=("concurrency_limited", "draining"),
    )
    hold["parameters"] += [
        _query("seconds", _SECONDS, "Until the answer.", required=True),
        _query("beat", _SECONDS, "Seconds between two beats; without it, silence."),
        _query("interim", {"enum": list(INTERIMS)}, "Beats are interim answers of this status. Needs `beat`."),
        _query("id", {"type": "string", "pattern": PROBE_ID}, "Chosen by the caller: how it ended is told under it."),
    ]
    hold["responses"]["200"]["links"] = {
        "getProbe": {"operationId": "getProbe", "parameters": {"id": "$request.query.id"}}
    }
    upload = made(
        "echoUpload", "The same for a body, which is read, counted and thrown away", echo, codes=("input_too_large",)
    )
    any_bytes = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    upload["requestBody"] = {"required": False, "content": any_bytes}
    return {
        "/v1/probe/hold": {"get": hold},
        "/v1/probe/hold/{id}": {
            "get": made("getProbe", "How a probe ended at the gateway's side", report, names=["id"])
        },
        "/v1/probe/echo": {
            "get": made("echo", "What the gateway sees of a request: proxies, protocol, clock, sender", echo),
            "post": upload,
        },
    }


def _query(name: str, schema: dict[str, Any], description: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": description}
