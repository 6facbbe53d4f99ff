"""What the OpenAPI document says of answers: their schemas, and the statuses of each kind of operation. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.types import Charge, Surface
from holdfast.wire.failures import CODES, content_type_of, status_of

COMPONENTS = "#/components/schemas/"

ANYWHERE = ("invalid_request", "not_found", "request_timeout", "headers_too_large", "internal_error")
"""Codes that any operation may answer: the request is malformed or slow, or its path fits no endpoint."""
KEYED = ("invalid_api_key", "key_revoked", "tls_required", "rate_limited")
"""Of operations that ask for a key: the last one where many wrong keys come from one address."""
READING = ("input_too_large", "unsupported_media_type", "storage_low")
"""Of operations that take a body."""
WRITING = ("storage_low",)
ASKING = (
    *READING,
    "unsupported_size",
    "model_not_found",
    "model_not_allowed",
    "scope_missing",
    "tls_required",
    "rate_limited",
    "concurrency_limited",
    "price_missing",
    "queue_full",
    "draining",
    "idempotency_in_flight",
    "idempotency_key_reused",
    "image_expired",
)
"""Of operations that ask for images: refused before anything was bought."""
ENDING = (
    "content_refused",
    "upstream_failed",
    "empty_result",
    "outcome_unknown",
    "deadline_exceeded",
    "generation_cancelled",
    "overloaded",
)
"""Of operations that wait for images: how a generation may end."""
_TARGET_TOO_LONG = 414
"""Told as `invalid_request`, with its own status (RFC 9110 §15.5.15)."""

_PAID: dict[str, Any] = {"enum": ["no", "yes", "unknown"]}
_TEXT_OR_NULL: dict[str, Any] = {"type": ["string", "null"]}
_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "code", "paid", "retryable", "generation_id"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "code": {"type": ["string", "integer", "null"]},
                "status": _TEXT,
                "param": _TEXT_OR_NULL,
                "details": {"type": "array", "items": {"type": "object"}},
                "holdfast_code": {"enum": list(CODES)},
                "paid": _PAID,
                "retryable": {"type": "boolean"},
                "generation_id": _TEXT_OR_NULL,
            },
        }
    },
}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "paid", "retryable", "generation_id"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": {"enum": list(CODES)},
        "param": _TEXT_OR_NULL,
        "paid": _PAID,
        "retryable": {"type": "boolean"},
        "generation_id": _TEXT_OR_NULL,
    },
}
IMAGES: dict[str, Any] = {
    "type": "object",
    "required": ["created", "model", "generation_id", "data"],
    "properties": {
        "created": _COUNT,
        "model": _TEXT,
        "generation_id": _TEXT,
        "size": _TEXT,
        "output_format": _TEXT,
        "quality": _TEXT,
        "background": _TEXT,
        "usage": {"type": "object"},
        "data": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["size"],
                "properties": {"url": _TEXT_OR_NULL, "b64_json": _TEXT, "size": _TEXT, "revised_prompt": _TEXT_OR_NULL},
            },
        },
    },
}
CHAT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage", "generation_id"],
    "properties": {
        "id": _TEXT,
        "object": {"const": "chat.completion"},
        "created": _COUNT,
        "model": _TEXT,
        "generation_id": _TEXT,
        "usage": {"type": "object"},
        "choices": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": _COUNT,
                    "finish_reason": {"enum": ["stop", "content_filter"]},
                    "message": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"const": "assistant"},
                            "content": _TEXT,
                            "refusal": _TEXT_OR_NULL,
                            "images": {"type": "array", "items": {"type": "object"}},
                        },
                    },
                },
            },
        },
    },
}
CONTENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "candidates": {"type": "array", "items": {"type": "object"}},
        "promptFeedback": {"type": "object"},
        "usageMetadata": {"type": "object"},
        "modelVersion": _TEXT,
        "responseId": _TEXT,
    },
    "anyOf": [{"required": ["candidates"]}, {"required": ["promptFeedback"]}],
}
_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object"],
    "properties": {"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT},
}
_GEMINI_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["name", "supportedGenerationMethods"],
    "properties": {"name": _TEXT, "supportedGenerationMethods": {"type": "array", "items": _TEXT}},
}
_MODEL_LIST: dict[str, Any] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": COMPONENTS + "Model"}}},
}
_GEMINI_MODEL_LIST: dict[str, Any] = {
    "type": "object",
    "required": ["models"],
    "properties": {"models": {"type": "array", "items": {"$ref": COMPONENTS + "GeminiModel"}}},
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": ERROR,
    "Problem": PROBLEM,
    "Images": IMAGES,
    "ChatCompletion": CHAT,
    "GeneratedContent": CONTENT,
    "Model": _MODEL,
    "ModelList": _MODEL_LIST,
    "GeminiModel": _GEMINI_MODEL,
    "GeminiModelList": _GEMINI_MODEL_LIST,
}
"""Those that no typed definition gives."""


def either(*names: str) -> dict[str, Any]:
    """Refer to schemas of which one fits."""
    refs = [{"$ref": COMPONENTS + name} for name in names]
    return refs[0] if len(refs) == 1 else {"anyOf": refs}


def events(data: dict[str, Any]) -> dict[str, Any]:
    """Describe an event stream by one of its events, as tools for OpenAPI 3.1 read it; `data` is JSON."""
    return {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "One event; blank lines between events are beats.",
                "required": ["data"],
                "properties": {
                    "id": _TEXT,
                    "event": _TEXT,
                    "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
                },
            }
        }
    }


def failures(surface: Surface, codes: Iterable[str]) -> dict[str, Any]:
    """Describe every status with which an operation may fail, and the codes behind it."""
    by_status: dict[int, list[str]] = {_TARGET_TOO_LONG: ["invalid_request"]}
    for code in dict.fromkeys((*ANYWHERE, *codes)):
        # What was paid decides between two statuses of Gemini's.
        for status in {status_of(surface, code, paid) for paid in Charge}:
            by_status.setdefault(status, []).append(code)
    schema = {"$ref": COMPONENTS + ("Problem" if surface is Surface.GENERATIONS else "Error")}
    media = content_type_of(surface).decode()
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {CODES[code].title}" for code in told),
            "content": {media: {"schema": schema}},
        }
        for status, told in sorted(by_status.items())
    }
