"""The OpenAPI document, made from the typed definitions that validate requests; and the page that shows it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast import __version__
from holdfast.gateway import openapi_answers as answers
from holdfast.gateway.admin.openapi import SECURITY_SCHEME, admin_paths, types_of
from holdfast.gateway.admin.table import SPECS
from holdfast.gateway.asked import DEFAULT_MODEL
from holdfast.gateway.openapi_answers import COMPONENTS
from holdfast.gateway.openapi_own import own_usage_paths
from holdfast.gateway.openapi_probes import probe_paths
from holdfast.policy.hops import HOPS_MAX
from holdfast.policy.prefer import WAIT_S_MAX
from holdfast.types import Surface, Tier
from holdfast.wire.chat_request import ChatRequest
from holdfast.wire.failures import CODES
from holdfast.wire.gemini import GenerateContentRequest
from holdfast.wire.generations import EventResource, GenerationList, GenerationResource, PartialImageEvent
from holdfast.wire.generations_query import LIMIT_DEFAULT, LIMIT_MAX, STATUSES
from holdfast.wire.generations_request import GenerationsRequest
from holdfast.wire.latency import WINDOWS, LatencyReport
from holdfast.wire.openai import ImagesRequest
from holdfast.wire.openai_edits import IMAGES_MAX, EditsRequest
from holdfast.wire.own_usage import OwnUsage
from holdfast.wire.probe import Echo, ProbeAnswer, ProbeReport
from holdfast.wire.webhooks import (
    DeliveryList,
    DeliveryResource,
    NewWebhook,
    WebhookList,
    WebhookPayload,
    WebhookResource,
)

_IN_A_PATH: dict[str, Any] = {"type": "string", "pattern": r"^[^/:\u0000-\u001f\u007f]+$"}
"""One segment; colons are left to Google's methods, control characters are refused."""
_EXAMPLES: dict[str, dict[str, Any]] = {"model": {"examples": [DEFAULT_MODEL]}}
_PROMPT = "A lighthouse in a storm"
_EXAMPLE = {"prompt": _PROMPT, "size": "1K"}
_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)
"""The smallest image that there is to begin from."""
_EDIT_EXAMPLE = {"prompt": _PROMPT, "size": "1K", "images": [{"image_url": _DOT}]}
_CHAT_EXAMPLE = {"messages": [{"role": "user", "content": _PROMPT}], "size": "1K"}
_GEMINI_EXAMPLE = {"contents": [{"role": "user", "parts": [{"text": _PROMPT}]}]}
_EVENT_NUMBER: dict[str, Any] = {"type": "string", "pattern": "^[0-9]{0,18}$"}
_SECONDS: dict[str, Any] = {
    "type": "string",
    "pattern": r"^(?:3600|(?:[1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2})(?:\.[0-9]{1,9})?|0\.[0-9]{0,8}[1-9])$",
}
_PURCHASES: dict[str, Any] = {"type": "string", "pattern": "^[1-9]$"}
_ASKS = [
    (
        "Prefer",
        {"type": "string"},
        "`heartbeat=N`: seconds between beats; 0: never commit 200 early. `respond-async`: 202 and the status at once. "
        f"`wait=N`: the same after N seconds, at most {WAIT_S_MAX:g}, if it has not ended. `hold=redirects`: 303 to "
        "`/v1/generations/{id}/result` instead of beats, until the true status is known; not for streams. The Gemini "
        "surface takes `heartbeat` and `hold` only.",
    ),
    ("Holdfast-Timeout", _SECONDS, "The whole budget in seconds, at most 3600."),
    (
        "Holdfast-Purchases",
        _PURCHASES,
        "Most upstream calls for one image that may be charged; the settings' limit is 2.",
    ),
    ("Holdfast-Degrade", {"const": "size"}, "A smaller size may be served when nothing else can."),
]
_WEBHOOKS = [NewWebhook, WebhookResource, WebhookList, DeliveryResource, DeliveryList, WebhookPayload]
_ALT_SSE = {"name": "alt", "in": "query", "required": True, "schema": {"const": "sse"}}


def _asked(name: str, schema: dict[str, Any], description: str, *, where: str = "query") -> dict[str, Any]:
    """Describe something that a caller may leave out."""
    return {"name": name, "in": where, "required": False, "schema": schema, "description": description}


_STATED: dict[str, Any] = {"type": "string", "minLength": 1}
_LIST_PARAMETERS = [
    _asked("status", {"enum": list(STATUSES)}, "Only those that stand so."),
    _asked("model", _STATED, "Only those of this model, or of the model with this alias."),
    _asked("collected", {"enum": ["true", "false"]}, "Whether image bytes have reached their caller."),
    _asked("idempotency_key", _STATED, "The one that was asked for with this `Idempotency-Key`."),
    _asked("after", _STATED, "`last_id` of the page before."),
    _asked(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "Generations on a page. With a filter there may be fewer, and still more behind them: `has_more` tells.",
    ),
]
_HOP_PARAMETERS = [
    _asked("hop", {"type": "integer", "minimum": 1, "maximum": HOPS_MAX}, "Which redirect led here."),
    *(_asked(name, {"type": "string"}, "Of the redirect's own permission.") for name in ("until", "exp", "kid", "sig")),
]
_SENT_ON = {
    "description": "Not ended yet: go on there, at once",
    "headers": {"Location": {"description": "A relative reference", "schema": {"type": "string"}}},
}
_PREFER_WAIT = _asked(
    "Prefer",
    {"type": "string"},
    f"`wait=N`: answer when the generation has ended, or after N seconds, at most {WAIT_S_MAX:g}.",
    where="header",
)


def document() -> bytes:
    """Write the OpenAPI 3.1 document."""
    types = [ImagesRequest, EditsRequest, ChatRequest, GenerateContentRequest, GenerationsRequest, GenerationResource]
    types += [GenerationList, EventResource, PartialImageEvent, LatencyReport, ProbeAnswer, ProbeReport, Echo]
    types.append(OwnUsage)
    types += _WEBHOOKS
    admin = types_of(SPECS)
    made, schemas = msgspec.json.schema_components([*types, *admin], ref_template=COMPONENTS + "{name}")
    images, edits, chat, generate, native, generation, listed, event, preview, latency, *others = made[: len(types)]
    probe, own, webhooks = others[:3], others[3], others[4:]
    of_admins = dict(zip(admin, made[len(types) :], strict=True))
    told = dict(zip(_WEBHOOKS, webhooks, strict=True))
    schemas.update(answers.SCHEMAS)
    # What the decoders say in words of their own, to name the near field.
    schemas["NewWebhook"]["additionalProperties"] = False
    body: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "holdfast",
            "version": __version__,
            "description": "The gateway that never drops a slow image.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"google": []}, {"query": []}, {"session": []}],
        "paths": {
            **_images_paths(images),
            "/v1/images/edits": {"post": _edit(edits, schemas["EditsRequest"])},
            "/v1/chat/completions": {"post": _chat(chat)},
            **_gemini_paths(generate),
            **_generation_paths(native, generation, listed),
            **_event_paths(event, preview),
            **_latency_paths(latency),
            **own_usage_paths(_operation, own),
            **probe_paths(_operation, *probe),
            **_webhook_paths(told),
            **admin_paths(SPECS, of_admins),
            "/metrics": {"get": _metrics()},
            **_open_paths(),
        },
        "webhooks": {"generationEnded": {"post": _told(told[WebhookPayload])}},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
                "query": {"type": "apiKey", "in": "query", "name": "key"},
                "session": SECURITY_SCHEME,
            },
        },
    }
    return msgspec.json.encode(body)


def _images_paths(schema: dict[str, Any]) -> dict[str, Any]:
    create = _operation(
        "createImage",
        "Create images; the caller is held with line feeds until they are there. After the first of them the status is "
        "200 whatever comes, and a failure is told in the body",
        body=schema,
        example=_EXAMPLE,
        ok={
            "application/json": {"schema": answers.either("Images", "GenerationResource", "Error")},
            **answers.events({"type": "object"}),
        },
        codes=(*answers.ASKING, *answers.ENDING),
    )
    create["responses"]["202"] = _accepted(answers.either("GenerationResource"))
    create["responses"]["303"] = _SENT_ON
    create["responses"]["200"]["links"] = _links("$response.body#/generation_id")
    both = {
        name: {"application/json": {"schema": answers.either(name, f"Gemini{name}")}} for name in ("Model", "ModelList")
    }
    models = _operation("listModels", "Models, in the dialect of the credential's header", ok=both["ModelList"])
    model = _operation("getModel", "One model", names=["model"], ok=both["Model"], codes=("model_not_found",))
    return {
        "/v1/images/generations": {"post": create},
        "/v1/models": {"get": models},
        "/v1/models/{model}": {"get": model},
    }


def _edit(schema: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """Describe edits: a form as SDKs send it, or JSON."""
    edit = _operation(
        "editImage",
        "Create images from images; as `POST /v1/images/generations` in all else",
        body=schema,
        example=_EDIT_EXAMPLE,
        ok={
            "application/json": {"schema": answers.either("Images", "GenerationResource", "Error")},
            **answers.events({"type": "object"}),
        },
        codes=(*answers.ASKING, *answers.ENDING),
    )
    file = {"type": "string", "format": "binary"}
    fields = {name: each for name, each in definition["properties"].items() if name not in ("images", "mask")}
    files = {"type": "array", "items": file, "minItems": 1, "maxItems": IMAGES_MAX}
    form = {
        "type": "object",
        "required": ["prompt", "image[]"],
        "properties": {**fields, "image[]": files, "mask": file},
        "description": "One file may also be called `image`.",
    }
    edit["requestBody"]["content"]["multipart/form-data"] = {"schema": form}
    edit["responses"]["202"] = _accepted(answers.either("GenerationResource"))
    edit["responses"]["303"] = _SENT_ON
    return edit


def _chat(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe the chat surface."""
    chat = _operation(
        "createChatCompletion",
        "Create images in a conversation, of models that make images; the caller is held as for `createImage`",
        body=schema,
        example=_CHAT_EXAMPLE,
        ok={
            "application/json": {"schema": answers.either("ChatCompletion", "GenerationResource", "Error")},
            **answers.events({"type": "object"}),
        },
        codes=(*answers.ASKING, *answers.ENDING),
    )
    chat["responses"]["202"] = _accepted(answers.either("GenerationResource"))
    chat["responses"]["303"] = _SENT_ON
    return chat


def _gemini_paths(schema: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    whole = {"application/json": {"schema": answers.either("GeneratedContent", "Error")}}
    for version in ("v1beta", "v1"):
        for verb in ("generateContent", "streamGenerateContent"):
            operation = _operation(
                f"{verb}_{version}",
                f"Gemini {verb}",
                body=schema,
                example=_GEMINI_EXAMPLE,
                names=["model"],
                ok=answers.events(answers.either("GeneratedContent", "Error")) if verb.startswith("stream") else whole,
                codes=(*answers.ASKING, *answers.ENDING),
                surface=Surface.GEMINI,
            )
            if verb.startswith("stream"):
                operation["parameters"].append(_ALT_SSE)
            else:
                operation["responses"]["303"] = _SENT_ON
            paths[f"/{version}/models/{{model}}:{verb}"] = {"post": operation}
    listed = {
        name: {"application/json": {"schema": answers.either(name)}} for name in ("GeminiModel", "GeminiModelList")
    }
    paths["/v1beta/models"] = {
        "get": _operation(
            "listModelsGemini", "Models, as Gemini lists them", ok=listed["GeminiModelList"], surface=Surface.GEMINI
        )
    }
    paths["/v1beta/models/{model}"] = {
        "get": _operation(
            "getModelGemini",
            "One model",
            names=["model"],
            ok=listed["GeminiModel"],
            codes=("model_not_found",),
            surface=Surface.GEMINI,
        )
    }
    return paths


def _links(id_: str, *, webhook: bool = False) -> dict[str, Any]:
    """Say which operations take what an answer gives."""
    of_generations = ("getGeneration", "followGeneration", "cancelGeneration", "getImage", "deleteGeneration")
    named = ("rotateWebhook", "listDeliveries", "deleteWebhook") if webhook else of_generations
    return {
        name: {"operationId": name, "parameters": {"id": id_} | ({"index": 0} if name == "getImage" else {})}
        for name in named
    }


def _generation_paths(native: dict[str, Any], schema: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    resource = {"application/json": {"schema": schema}}
    create = _operation(
        "createGeneration",
        "Create images without waiting: the generation as it stands, to be asked for again",
        body=native,
        example=_EXAMPLE,
        ok=resource,
        codes=(*answers.ASKING, "generation_not_found"),
        surface=Surface.GENERATIONS,
    )
    create["responses"]["202"] = _accepted(schema)
    list_ = _operation(
        "listGenerations",
        "The key's own generations, newest first",
        ok={"application/json": {"schema": listed}},
        surface=Surface.GENERATIONS,
    )
    list_["parameters"] += _LIST_PARAMETERS
    list_["responses"]["200"]["links"] = _links("$response.body#/data/0/id")
    known: dict[str, Any] = {"names": ["id"], "ok": resource, "surface": Surface.GENERATIONS}
    status = _operation("getGeneration", "How a generation stands", codes=("generation_not_found",), **known)
    status["parameters"].append(_PREFER_WAIT)
    cancel = _operation(
        "cancelGeneration",
        "Cancel: free while it is queued; once it was sent, nothing more is bought and what arrives is delivered",
        codes=("generation_not_found", *answers.WRITING),
        **known,
    )
    delete = _operation(
        "deleteGeneration",
        "Delete its images and its prompt now; the record and what it cost stay. Asked twice, it is as asked once",
        codes=("generation_not_found", "generation_open", *answers.WRITING),
        **known,
    )
    del delete["responses"]["200"]
    delete["responses"] = {"204": {"description": "Done"}, **delete["responses"]}
    for operation in (create, status):
        for code in ("200", "202"):
            if code in operation["responses"]:
                operation["responses"][code]["links"] = _links("$response.body#/id")
    return {
        "/v1/generations": {"post": create, "get": list_},
        "/v1/generations/{id}": {"get": status, "delete": delete},
        "/v1/generations/{id}/result": {"get": _result()},
        "/v1/generations/{id}/cancel": {"post": cancel},
        "/v1/generations/{id}/images/{index}": {"get": _image()},
    }


def _result() -> dict[str, Any]:
    """Describe where a caller goes on waiting that is held by redirects: its answer is that of its POST."""
    result = _operation(
        "awaitResult",
        "Where a caller goes on waiting that is held by redirects: answered as its POST, or sent on once more",
        names=["id"],
        ok={
            "application/json": {"schema": answers.either("Images", "ChatCompletion", "GeneratedContent")},
            **answers.events({"type": "object"}),
        },
        codes=("generation_not_found", "image_expired", *answers.ENDING),
    )
    for status, response in answers.failures(Surface.GENERATIONS, ("generation_not_found", *answers.KEYED)).items():
        # Before it is known whose answer it is, a failure is told as of any other generation.
        result["responses"].setdefault(status, response)["content"] |= response["content"]
    result["parameters"] += _HOP_PARAMETERS
    result["responses"]["303"] = _SENT_ON
    return result


def _image() -> dict[str, Any]:
    """Describe an image's own operation."""
    bytes_ = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    image = _operation(
        "getImage",
        "An image by signed link, or with the key; Range and ETag are honoured",
        names=["id", "index"],
        ok=bytes_,
        codes=("generation_not_found", "image_expired", "storage_low"),
        surface=Surface.GENERATIONS,
    )
    image["parameters"][-1]["schema"] = {"type": "integer", "minimum": 0, "maximum": 999}
    image["responses"] |= {
        "206": {"description": "The part that `Range` asked for", "content": bytes_},
        "304": {"description": "As `If-None-Match` has it"},
        "307": {"description": "It lies in a bucket, and is given out from there (`objects.serve`)"},
        "416": {"description": "`Range` begins behind the end"},
    }
    return image


def _event_paths(event: dict[str, Any], preview: dict[str, Any]) -> dict[str, Any]:
    follow = _operation(
        "followGeneration",
        "What happens to a generation, as server-sent events; blank lines are beats",
        names=["id"],
        ok=answers.events({"anyOf": [event, preview]}),
        codes=("generation_not_found", "overloaded"),
        surface=Surface.GENERATIONS,
    )
    number = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
    follow["parameters"] += [
        _asked("starting_after", number, "Begin behind this `sequence_number`."),
        _asked("Last-Event-ID", _EVENT_NUMBER, "The same, as browsers send it; it wins.", where="header"),
    ]
    follow["responses"]["204"] = {"description": "It is over, and all was seen"}
    return {"/v1/generations/{id}/events": {"get": follow}}


def _latency_paths(report: dict[str, Any]) -> dict[str, Any]:
    latency = _operation(
        "getLatency",
        "How long images take here: published figures and what was measured, by model, size, upstream and window",
        ok={"application/json": {"schema": report}},
        surface=Surface.GENERATIONS,
    )
    latency["parameters"] += [
        _asked("model", _STATED, "Only this model, or the model with this alias."),
        _asked("size", {"enum": [tier.value for tier in Tier]}, "Only this size."),
        _asked("window", {"enum": list(WINDOWS)}, "Only what was measured within this."),
        _asked("detail", {"enum": ["true", "false"]}, "Distributions, and percentiles by hour, as well."),
    ]
    return {"/v1/latency": {"get": latency}}


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
        ok = {"application/json": {"schema": schemas[answer]}} if answer else {}
        made = _operation(name, summary, ok=ok, surface=Surface.GENERATIONS, **more)
        done = made["responses"].pop("200")
        made["responses"] = {status: done if answer else {"description": "Done"}, **made["responses"]}
        # What is asked of generations in headers means nothing here.
        made["parameters"] = [each for each in made["parameters"] if each["in"] != "header"]
        return made

    known: dict[str, Any] = {"names": ["id"], "codes": ("webhook_not_found", *answers.WRITING)}
    deliveries = operation("listDeliveries", "What was told to a webhook, newest first", DeliveryList, **known)
    deliveries["parameters"] += [
        _asked("after", {"type": "string"}, "The last `id` of the page before."),
        _asked("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Deliveries on a page."),
    ]
    deliveries["responses"]["200"]["links"] = {
        "redeliver": {"operationId": "redeliver", "parameters": {"id": "$response.body#/data/0/id"}}
    }
    rotate = "A new secret; the one before signs too for 24 hours. `default` signs for URLs of requests"
    created = operation(
        "createWebhook",
        "Be told of ends; the secret is shown once",
        WebhookResource,
        body=schemas[NewWebhook],
        status="201",
        codes=answers.READING,
    )
    created["responses"]["201"]["links"] = _links("$response.body#/id", webhook=True)
    listed = operation("listWebhooks", "The key's webhooks", WebhookList)
    listed["responses"]["200"]["links"] = _links("$response.body#/data/0/id", webhook=True)
    again = "Tell an end once more, under the same id"
    return {
        "/v1/webhooks": {"get": listed, "post": created},
        "/v1/webhooks/{id}": {"delete": operation("deleteWebhook", "Be told no more", None, status="204", **known)},
        "/v1/webhooks/{id}/rotate": {"post": operation("rotateWebhook", rotate, WebhookResource, **known)},
        "/v1/webhooks/{id}/deliveries": {"get": deliveries},
        "/v1/webhooks/deliveries/{id}/redeliver": {
            "post": operation("redeliver", again, DeliveryResource, status="202", **known)
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
    state = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    as_json = {"application/json": {"schema": state}}
    open_: dict[str, tuple[str, dict[str, Any]]] = {
        "/healthz": ("The process lives", as_json),
        "/readyz": ("New work is taken", as_json),
        "/openapi.json": ("This document", {"application/json": {"schema": {"type": "object"}}}),
        "/docs": ("This document for people", {"text/html": {"schema": {"type": "string"}}}),
    }
    paths: dict[str, Any] = {}
    for path, (summary, ok) in open_.items():
        operation = _operation(path.strip("/").replace(".", "_"), summary, ok=ok, is_open=True)
        paths[path] = {"get": operation}
    paths["/readyz"]["get"]["responses"]["503"] = {
        "description": "No; `status` says why: it drains, or the disk is full",
        "content": as_json,
    }
    return paths


def _metrics() -> dict[str, Any]:
    text = {media: {"schema": {"type": "string"}} for media in ("text/plain", "application/openmetrics-text")}
    operation = _operation(
        "metrics",
        "Numbers for Prometheus; from elsewhere than the gateway's machine an admin key is needed",
        ok=text,
        codes=("admin_required", "tls_required"),
        surface=Surface.GENERATIONS,
    )
    # Whoever asks from here needs nothing.
    operation["security"] = [{}, {"bearer": []}, {"google": []}]
    return operation


def _operation(
    name: str,
    summary: str,
    *,
    ok: dict[str, Any],
    body: dict[str, Any] | None = None,
    example: dict[str, Any] | None = None,
    names: Sequence[str] = (),
    codes: Sequence[str] = (),
    surface: Surface = Surface.OPENAI,
    is_open: bool = False,
) -> dict[str, Any]:
    """Describe an operation; `codes` beyond those of every one."""
    parameters: list[dict[str, Any]] = [
        {"name": each, "in": "path", "required": True, "schema": _IN_A_PATH | _EXAMPLES.get(each, {})} for each in names
    ]
    if body is not None:
        parameters += [
            {"name": each, "in": "header", "required": False, "schema": schema, "description": what}
            for each, schema, what in _ASKS
        ]
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": ok},
            **answers.failures(surface, codes if is_open else (*answers.KEYED, *codes)),
        },
    }
    if is_open:
        operation["security"] = []
    if body is not None:
        content = {"schema": body} | ({} if example is None else {"example": example})
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
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
