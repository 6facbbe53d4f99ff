"""The OpenAPI document, made from the typed definitions that validate requests; and the page that shows it."""

from __future__ import annotations

import html
from typing import Any

import msgspec

from holdfast import __version__
from holdfast.policy.prefer import WAIT_S_MAX
from holdfast.wire.failures import CODES
from holdfast.wire.gemini import GenerateContentRequest
from holdfast.wire.generations import EventResource, GenerationList, GenerationResource
from holdfast.wire.generations_query import LIMIT_DEFAULT, LIMIT_MAX, STATUSES
from holdfast.wire.generations_request import GenerationsRequest
from holdfast.wire.openai import ImagesRequest
from holdfast.wire.webhooks import (
    DeliveryList,
    DeliveryResource,
    NewWebhook,
    WebhookList,
    WebhookPayload,
    WebhookResource,
)

_COMPONENTS = "#/components/schemas/"
_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "integer", "null"]},
                "param": {"type": ["string", "null"]},
                "paid": {"enum": ["no", "yes", "unknown"]},
                "retryable": {"type": "boolean"},
                "generation_id": {"type": ["string", "null"]},
            },
        }
    },
}
_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "paid": {"enum": ["no", "yes", "unknown"]},
        "retryable": {"type": "boolean"},
        "generation_id": {"type": ["string", "null"]},
    },
}
_ASKS = [
    (
        "Prefer",
        "`heartbeat=N`: seconds between beats; 0: never commit 200 early. `respond-async`: 202 and the status at once. "
        f"`wait=N`: the same after N seconds, at most {WAIT_S_MAX:g}, if it has not ended. The Gemini surface takes "
        "`heartbeat` only.",
    ),
    ("Holdfast-Timeout", "The whole budget in seconds, at most 3600."),
]
_WEBHOOKS = [NewWebhook, WebhookResource, WebhookList, DeliveryResource, DeliveryList, WebhookPayload]
_ALT_SSE = {"name": "alt", "in": "query", "required": True, "schema": {"const": "sse"}}


def _asked(name: str, schema: dict[str, Any], description: str, *, where: str = "query") -> dict[str, Any]:
    """Describe something that a caller may leave out."""
    return {"name": name, "in": where, "required": False, "schema": schema, "description": description}


_LIST_PARAMETERS = [
    _asked("status", {"enum": list(STATUSES)}, "Only those that stand so."),
    _asked("model", {"type": "string"}, "Only those of this model, or of the model with this alias."),
    _asked("collected", {"enum": ["true", "false"]}, "Whether image bytes have reached their caller."),
    _asked("idempotency_key", {"type": "string"}, "The one that was asked for with this `Idempotency-Key`."),
    _asked("after", {"type": "string"}, "`last_id` of the page before."),
    _asked(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "Generations on a page. With a filter there may be fewer, and still more behind them: `has_more` tells.",
    ),
]
_PREFER_WAIT = _asked(
    "Prefer",
    {"type": "string"},
    f"`wait=N`: answer when the generation has ended, or after N seconds, at most {WAIT_S_MAX:g}.",
    where="header",
)


def document() -> bytes:
    """Write the OpenAPI 3.1 document."""
    types = [ImagesRequest, GenerateContentRequest, GenerationsRequest, GenerationResource]
    types += [GenerationList, EventResource, *_WEBHOOKS]
    (images, generate, native, generation, listed, event, *webhooks), schemas = msgspec.json.schema_components(
        types, ref_template=_COMPONENTS + "{name}"
    )
    told = dict(zip(_WEBHOOKS, webhooks, strict=True))
    schemas["Error"] = _ERROR_SCHEMA
    schemas["Problem"] = _PROBLEM_SCHEMA
    body: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "holdfast",
            "version": __version__,
            "description": "The gateway that never drops a slow image.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"google": []}, {"query": []}],
        "paths": {
            **_images_paths(images),
            **_gemini_paths(generate),
            **_generation_paths(native, generation, listed),
            **_event_paths(event),
            **_webhook_paths(told),
            **_open_paths(),
        },
        "webhooks": {"generationEnded": {"post": _told(told[WebhookPayload])}},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
                "query": {"type": "apiKey", "in": "query", "name": "key"},
            },
        },
    }
    return msgspec.json.encode(body)


def _images_paths(schema: dict[str, Any]) -> dict[str, Any]:
    generations = {
        "post": _operation(
            "createImage",
            "Create images; the caller is held with line feeds until they are there",
            body=schema,
            ok={
                "application/json": {"schema": {"type": "object"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        )
    }
    generations["post"]["responses"]["202"] = _accepted({"$ref": _COMPONENTS + "GenerationResource"})
    models = {"get": _operation("listModels", "Models, in the dialect of the credential's header")}
    model = {"get": _operation("getModel", "One model", names=["model"])}
    return {"/v1/images/generations": generations, "/v1/models": models, "/v1/models/{model}": model}


def _gemini_paths(schema: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for version in ("v1beta", "v1"):
        for verb in ("generateContent", "streamGenerateContent"):
            operation = _operation(
                f"{verb}_{version}",
                f"Gemini {verb}",
                body=schema,
                names=["model"],
                ok={"text/event-stream": {"schema": {"type": "string"}}} if verb.startswith("stream") else None,
            )
            if verb.startswith("stream"):
                operation["parameters"].append(_ALT_SSE)
            paths[f"/{version}/models/{{model}}:{verb}"] = {"post": operation}
    paths["/v1beta/models"] = {"get": _operation("listModelsGemini", "Models, as Gemini lists them")}
    paths["/v1beta/models/{model}"] = {"get": _operation("getModelGemini", "One model", names=["model"])}
    return paths


def _generation_paths(native: dict[str, Any], schema: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    create = _operation(
        "createGeneration",
        "Create images without waiting: the generation as it stands, to be asked for again",
        body=native,
        ok={"application/json": {"schema": schema}},
        error="Problem",
    )
    create["responses"]["202"] = _accepted(schema)
    list_ = _operation(
        "listGenerations",
        "The key's own generations, newest first",
        ok={"application/json": {"schema": listed}},
        error="Problem",
    )
    list_["parameters"] += _LIST_PARAMETERS
    status = _operation(
        "getGeneration",
        "How a generation stands",
        names=["id"],
        ok={"application/json": {"schema": schema}},
        error="Problem",
    )
    status["parameters"].append(_PREFER_WAIT)
    cancel = _operation(
        "cancelGeneration",
        "Cancel: free while it is queued; once it was sent, nothing more is bought and what arrives is delivered",
        names=["id"],
        ok={"application/json": {"schema": schema}},
        error="Problem",
    )
    image = _operation(
        "getImage",
        "An image by signed link, or with the key; Range and ETag are honoured",
        names=["id", "index"],
        ok={"image/*": {"schema": {"type": "string", "format": "binary"}}},
        error="Problem",
    )
    return {
        "/v1/generations": {"post": create, "get": list_},
        "/v1/generations/{id}": {"get": status},
        "/v1/generations/{id}/cancel": {"post": cancel},
        "/v1/generations/{id}/images/{index}": {"get": image},
    }


def _event_paths(event: dict[str, Any]) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": event}
    events = _operation(
        "followGeneration",
        "What happens to a generation, as server-sent events; `data` is the schema's, blank lines are beats",
        names=["id"],
        ok={"text/event-stream": {"schema": data}},
        error="Problem",
    )
    number = {"type": "integer", "minimum": 0}
    events["parameters"] += [
        _asked("starting_after", number, "Begin behind this `sequence_number`."),
        _asked("Last-Event-ID", number, "The same, as browsers send it; it wins.", where="header"),
    ]
    events["responses"]["204"] = {"description": "It is over, and all was seen"}
    return {"/v1/generations/{id}/events": {"get": events}}


def _accepted(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a 202."""
    headers = {
        "Location": "Where to ask how it stands",
        "Retry-After": "Seconds until that is worth while, at most 60",
        "Generation-Id": "Its id",
    }
    return {
        "description": "Accepted, and not ended yet",
        "headers": {name: {"description": what, "schema": {"type": "string"}} for name, what in headers.items()},
        "content": {"application/json": {"schema": schema}},
    }


def _webhook_paths(schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    def operation(name: str, summary: str, answer: Any, *, status: str = "200", **more: Any) -> dict[str, Any]:
        ok = {"application/json": {"schema": schemas[answer]}} if answer else None
        made = _operation(name, summary, ok=ok, error="Problem", **more)
        done = made["responses"].pop("200")
        made["responses"] = {status: done if answer else {"description": "Done"}, **made["responses"]}
        # What is asked of generations in headers means nothing here.
        made["parameters"] = [each for each in made["parameters"] if each["in"] != "header"]
        return made

    page = [
        {"name": "after", "in": "query", "required": False, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": 100},
        },
    ]
    deliveries = operation("listDeliveries", "What was told to a webhook, newest first", DeliveryList, names=["id"])
    deliveries["parameters"] += page
    rotate = "A new secret; the one before signs too for 24 hours. `default` signs for URLs of requests"
    created = operation(
        "createWebhook",
        "Be told of ends; the secret is shown once",
        WebhookResource,
        body=schemas[NewWebhook],
        status="201",
    )
    again = "Tell an end once more, under the same id"
    return {
        "/v1/webhooks": {
            "get": operation("listWebhooks", "The key's webhooks", WebhookList),
            "post": created,
        },
        "/v1/webhooks/{id}": {
            "delete": operation("deleteWebhook", "Be told no more", None, names=["id"], status="204"),
        },
        "/v1/webhooks/{id}/rotate": {"post": operation("rotateWebhook", rotate, WebhookResource, names=["id"])},
        "/v1/webhooks/{id}/deliveries": {"get": deliveries},
        "/v1/webhooks/deliveries/{id}/redeliver": {
            "post": operation("redeliver", again, DeliveryResource, names=["id"], status="202")
        },
    }


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """What receivers are sent, after Standard Webhooks."""
    signed = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "summary": "A generation ended",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in signed
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Taken"}, "410": {"description": "Nothing more is wanted"}},
    }


def _open_paths() -> dict[str, Any]:
    paths = {
        "/healthz": "The process lives",
        "/readyz": "New work is taken",
        "/openapi.json": "This document",
        "/docs": "This document for people",
    }
    return {
        path: {
            "get": {
                "operationId": path.strip("/").replace(".", "_"),
                "summary": summary,
                "security": [],
                "responses": {"200": {"description": "Yes"}, "503": {"description": "No"}},
            }
        }
        for path, summary in paths.items()
    }


def _operation(
    name: str,
    summary: str,
    *,
    body: dict[str, Any] | None = None,
    names: list[str] | None = None,
    ok: dict[str, Any] | None = None,
    error: str = "Error",
) -> dict[str, Any]:
    media = "application/problem+json" if error == "Problem" else "application/json"
    parameters: list[dict[str, Any]] = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string"}} for each in names or []
    ]
    if body is not None:
        parameters += [
            {"name": each, "in": "header", "required": False, "schema": {"type": "string"}, "description": what}
            for each, what in _ASKS
        ]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": ok or {"application/json": {"schema": {"type": "object"}}}},
            "default": {
                "description": "Failed; `paid` says what an upstream may have charged. Codes: " + ", ".join(CODES),
                "content": {media: {"schema": {"$ref": _COMPONENTS + error}}},
            },
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def page(spec: bytes) -> bytes:
    """Write a page that shows the document and loads nothing from elsewhere."""
    paths: dict[str, Any] = msgspec.json.decode(spec)["paths"]
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    codes = [
        f"<tr><td><code>{code}</code></td><td>{row.status}</td><td>{html.escape(row.title)}</td></tr>"
        for code, row in CODES.items()
    ]
    return _PAGE.replace("@rows", "".join(rows)).replace("@codes", "".join(codes)).encode()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>holdfast: API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}
code{font-size:.9em}</style>
<h1>holdfast</h1><p>The gateway that never drops a slow image. Point an SDK's base URL here:
<code>OpenAI(base_url="…/v1")</code>, <code>genai.Client(http_options={"base_url": "…"})</code>.
The whole document: <a href="/openapi.json">openapi.json</a>.</p>
<h2>Endpoints</h2><table><tbody>@rows</tbody></table>
<h2>Error codes</h2><table><tbody>@codes</tbody></table></html>"""
