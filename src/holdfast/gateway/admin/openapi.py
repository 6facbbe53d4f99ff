"""What the OpenAPI document says of `/admin/v1`, read off the specs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.gateway import openapi_answers as answers
from holdfast.gateway.admin.framework import Spec
from holdfast.gateway.admin.sessions import COOKIE
from holdfast.types import Surface

_ALWAYS = (*answers.KEYED, "admin_required", "csrf_failed", "tls_required")
_READING = ("input_too_large", "unsupported_media_type")
_SEGMENT: dict[str, Any] = {"type": "string", "pattern": r"^[^/:\u0000-\u001f\u007f]+$"}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"google": []}, {"session": []}]
"""Never in the query: what an admin's key stands in, others may read."""
SECURITY_SCHEME: dict[str, Any] = {
    "type": "apiKey",
    "in": "cookie",
    "name": COOKIE,
    "description": "Set by `POST /admin/v1/session`; `__Host-` is put before it over TLS. All but GET send the "
    "session's `csrf_token` along, as `Holdfast-CSRF`.",
}


def types_of(specs: Sequence[Spec]) -> list[type[msgspec.Struct]]:
    """List what the endpoints take and give, each once."""
    found = [each for spec in specs for each in (spec.body, spec.answer) if each is not None]
    return list(dict.fromkeys(found))


def admin_paths(specs: Sequence[Spec], schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """Describe the operations.

    Args:
        specs: All endpoints.
        schemas: By type, of what `types_of` gives.
    """
    paths: dict[str, dict[str, Any]] = {}
    for spec in specs:
        paths.setdefault(spec.path, {})[spec.method.lower()] = _operation(spec, schemas)
    return paths


def _operation(spec: Spec, schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    is_json = spec.media == "application/json"
    schema = {"type": "string"} if spec.answer is None else schemas[spec.answer]
    done: dict[str, Any] = {"description": "Done"}
    if spec.media == "text/event-stream":
        done["content"] = answers.events(schema)
    elif spec.answer is not None or not is_json:
        done["content"] = {spec.media: {"schema": schema}}
    if spec.links:
        at = "$response.body#/id" if spec.status == 201 else "$response.body#/data/0/id"
        done["links"] = {name: _link(name, at) for name in spec.links}
    codes = (*_ALWAYS, *spec.codes)
    operation: dict[str, Any] = {
        "operationId": spec.name,
        "summary": spec.summary,
        "tags": ["admin"],
        "security": _SECURITY,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": _SEGMENT}
                for name in re.findall(r"{(\w+)}", spec.path)
            ),
            *(
                {
                    "name": each.name,
                    "in": "query",
                    "required": False,
                    "schema": dict(each.schema),
                    "description": each.means,
                }
                for each in spec.parameters
            ),
        ],
    }
    if spec.body is not None or spec.body_media != "application/json":
        content = {"schema": {"type": "string"} if spec.body is None else schemas[spec.body]}
        operation["requestBody"] = {"required": spec.body is None, "content": {spec.body_media: content}}
        codes += _READING
    operation["responses"] = {str(spec.status): done, **answers.failures(Surface.GENERATIONS, codes)}
    return operation


def _link(name: str, at: str) -> dict[str, Any]:
    return {"operationId": name, "parameters": {"id": at} | ({"index": 0} if name == "lookAtImage" else {})}
