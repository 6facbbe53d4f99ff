"""The OpenAPI document says what is served, no more and no less, and comes from the types that validate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from holdfast import __version__
from holdfast.config import Settings
from holdfast.errors import RequestError
from holdfast.gateway import openapi
from holdfast.gateway.admin.make import admin_api
from holdfast.gateway.app import Endpoint
from holdfast.gateway.chats import Chats
from holdfast.gateway.latency import LatencyPage
from holdfast.gateway.metrics import MetricsPage
from holdfast.gateway.own_usage import OwnUsagePage
from holdfast.gateway.probes import Probes
from holdfast.gateway.surfaces import Surfaces
from holdfast.gateway.webhooks import Webhooks
from holdfast.policy.prefer import asked_timeout_s
from holdfast.types import Charge, Surface
from holdfast.wire.chat_request import decode_chat_request
from holdfast.wire.failures import CODES, content_type_of, render_error, status_of
from holdfast.wire.gemini import GenerateContentRequest, decode_generate_request
from holdfast.wire.generations import GenerationResource
from holdfast.wire.generations_query import PARAMETERS, decode_events_query
from holdfast.wire.generations_request import GenerationsRequest, decode_generations_request
from holdfast.wire.latency import PARAMETERS as LATENCY_PARAMETERS
from holdfast.wire.latency import LatencyReport, decode_latency_query
from holdfast.wire.openai import ImagesRequest, decode_images_request
from holdfast.wire.openai_edits import EDITS_REQUEST_IMAGE, decode_edits_request
from holdfast.wire.probe import HOLD_PARAMETERS, Echo, ProbeAnswer, ProbeReport, decode_hold_query
from holdfast.wire.scan import ImageEnded, JsonReader

SPEC: dict[str, Any] = json.loads(openapi.document())
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


class _Anything:
    """Stands for whatever a handler would need, which none of these tests calls."""

    def __getattr__(self, name: str) -> Any:
        return None


def served() -> list[Endpoint]:
    """Every endpoint of the application."""
    nothing = cast(Any, _Anything())
    surfaces = Surfaces(
        engine=nothing,
        auth=nothing,
        bodies=nothing,
        routes=nothing,
        generator=nothing,
        generations=nothing,
        webhooks=nothing,
        results=nothing,
        fetcher=nothing,
    )
    webhooks = Webhooks(
        store=nothing,
        auth=nothing,
        bodies=nothing,
        deliverer=nothing,
        settings=Settings(),
        clock=nothing,
        secret=b"",
    )
    chats = Chats(
        auth=nothing,
        bodies=nothing,
        routes=nothing,
        generator=nothing,
        earlier=nothing,
        fetcher=nothing,
        links=nothing,
    )
    latency = LatencyPage(auth=nothing, latencies=nothing, routes=nothing, clock=nothing)
    probes = Probes(auth=nothing, settings=Settings(), clock=nothing, wheel=nothing)
    core: Any = SimpleNamespace(settings=Settings(), store=nothing, clock=nothing)
    auth: Any = SimpleNamespace(forget=nothing)
    links: Any = SimpleNamespace(trusted=())
    admin = admin_api(
        core,
        nothing,
        auth=auth,
        secret=b"",
        links=links,
        routes=nothing,
        generations=nothing,
    )
    metrics = MetricsPage(core, nothing, auth=nothing, wheel=nothing, disk=nothing, trusted=())
    own = OwnUsagePage(auth=nothing, store=nothing, clock=nothing, currency="USD")
    others = (chats, webhooks, latency, own, probes, admin, metrics)
    return [*surfaces.endpoints(), *(each for served in others for each in served.endpoints())]


def an_edit(body: bytes) -> Any:
    """Read an edit as a gateway does: its images are cut out first."""
    reader = JsonReader(EDITS_REQUEST_IMAGE, links_stay=True)
    assert [event for event in reader.feed(body) if isinstance(event, ImageEnded)]
    return decode_edits_request(reader.finish(), reader.next_index)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of the document."""
    return [(path, method, each) for path, item in SPEC["paths"].items() for method, each in item.items()]


def path_of(pattern: re.Pattern[str]) -> str:
    """Turn an endpoint's pattern back into its path."""
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern.pattern).replace("\\", "")


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    name = schema["$ref"].removeprefix("#/components/schemas/")
    return dict(SPEC["components"]["schemas"][name])


def test_every_endpoint_is_documented_and_nothing_else() -> None:
    """In both directions: no hidden door, and no promise that is not kept."""
    assert {(path, method.upper()) for path, method, _ in operations()} == {
        (path_of(each.pattern), each.method) for each in served()
    }


def test_no_endpoint_is_declared_twice() -> None:
    """Of two alike the second would never be reached."""
    declared = [(each.method, each.pattern.pattern) for each in served()]
    assert len(declared) == len(set(declared))


def test_the_document_has_the_form_of_openapi_3_1() -> None:
    """Version, info, and a schema dialect that allows type arrays and `const`."""
    assert SPEC["openapi"].startswith("3.1.")
    assert SPEC["info"]["title"]
    assert SPEC["info"]["version"] == __version__
    assert SPEC["info"]["license"]["identifier"] == "Apache-2.0"
    assert SPEC.keys() <= {"openapi", "info", "servers", "paths", "components", "security", "tags", "webhooks"}
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in METHODS
        assert operation["responses"], path
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5](\d\d|XX)|default", status)
            assert response["description"], f"{path}: a response needs a description"


def test_operation_ids_are_unique() -> None:
    """Code generators name functions by them."""
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"\w+", each) for each in ids)


def test_every_reference_leads_somewhere() -> None:
    """And every schema is used, from the paths or from another schema."""
    refs = {node["$ref"] for node in nodes(SPEC) if isinstance(node.get("$ref"), str)}
    names = {f"#/components/schemas/{name}" for name in SPEC["components"]["schemas"]}
    assert refs == names


def test_names_in_a_path_are_its_parameters() -> None:
    """Each exactly once, and required, as OpenAPI wants it."""
    for path, _, operation in operations():
        parameters = operation.get("parameters", [])
        names = [each["name"] for each in parameters if each["in"] == "path"]
        assert sorted(names) == sorted(re.findall(r"\{(\w+)\}", path)), path
        assert all(each["required"] for each in parameters if each["in"] == "path")
        assert all(each["in"] in ("path", "query", "header", "cookie") and each["schema"] for each in parameters)
        assert len({(each["name"], each["in"]) for each in parameters}) == len(parameters)


def test_security_names_schemes_that_exist_and_only_open_pages_are_open() -> None:
    """A key may stand in each of the places where one is accepted."""
    schemes = SPEC["components"]["securitySchemes"]
    assert {name for each in SPEC["security"] for name in each} == set(schemes)
    assert {(each.get("in"), each.get("name", each.get("scheme"))) for each in schemes.values()} == {
        (None, "bearer"),
        ("header", "x-goog-api-key"),
        ("query", "key"),
        ("cookie", "holdfast_session"),
    }
    open_ = {path for path, _, operation in operations() if operation.get("security") == []}
    assert open_ == {"/healthz", "/readyz", "/openapi.json", "/docs"}


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/v1/images/generations", ImagesRequest),
        ("/v1/generations", GenerationsRequest),
        ("/v1/models/{model}:generateContent", GenerateContentRequest),
        ("/v1beta/models/{model}:streamGenerateContent", GenerateContentRequest),
    ],
)
def test_a_body_is_the_definition_that_validates_it(path: str, type_: type[msgspec.Struct]) -> None:
    """A field that is taken is documented, with its bounds; the two cannot drift apart."""
    body = SPEC["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    schema = resolved(body["content"]["application/json"]["schema"])
    wanted = {field.encode_name for field in msgspec.structs.fields(type_)}
    assert set(schema["properties"]) == wanted
    assert set(schema["required"]) == {field.encode_name for field in msgspec.structs.fields(type_) if field.required}


def test_examples_are_requests_that_would_be_taken() -> None:
    """Whoever copies one gets an image."""
    decoders: dict[str, Callable[[bytes], Any]] = {
        "ImagesRequest": decode_images_request,
        "EditsRequest": an_edit,
        "ChatRequest": lambda body: decode_chat_request(body, 0),
        "GenerationsRequest": decode_generations_request,
        "GenerateContentRequest": decode_generate_request,
    }
    seen = 0
    for _, _, operation in operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            name = content["schema"]["$ref"].rpartition("/")[2]
            assert decoders[name](json.dumps(content["example"]).encode())
            seen += 1
    assert seen == 8
    model = SPEC["paths"]["/v1/models/{model}"]["get"]["parameters"][0]["schema"]
    assert model["examples"] == ["nano-banana-pro"]


def test_bounds_are_documented() -> None:
    """`n` from 1 to 10, and the other limits a caller would run into."""
    properties = resolved({"$ref": "#/components/schemas/ImagesRequest"})["properties"]
    n = next(each for each in properties["n"]["anyOf"] if each.get("type") == "integer")
    assert (n["minimum"], n["maximum"]) == (1, 10)
    assert properties["prompt"]["maxLength"] == 32_000


def test_the_status_resource_is_the_type_that_is_sent() -> None:
    """Every member of the resource, documented from the same definition."""
    operation = SPEC["paths"]["/v1/generations/{id}"]["get"]
    schema = resolved(operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert set(schema["properties"]) == set(GenerationResource.__struct_fields__)


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/images/generations"])
def test_what_may_be_answered_with_a_status_says_so(path: str) -> None:
    """202 with the resource, and the headers that lead back to it."""
    accepted = SPEC["paths"][path]["post"]["responses"]["202"]
    assert set(accepted["headers"]) == {"Location", "Retry-After", "Generation-Id"}
    schema = resolved(accepted["content"]["application/json"]["schema"])
    assert set(schema["properties"]) == set(GenerationResource.__struct_fields__)


def test_a_list_is_narrowed_by_what_is_read() -> None:
    """Every parameter, and no other."""
    operation = SPEC["paths"]["/v1/generations"]["get"]
    assert [each["name"] for each in operation["parameters"]] == list(PARAMETERS)
    assert {each["in"] for each in operation["parameters"]} == {"query"}


def test_streams_are_documented_as_streams() -> None:
    """`alt=sse` is demanded, and what comes is an event stream."""
    streaming = [each for path, _, each in operations() if path.endswith(":streamGenerateContent")]
    assert len(streaming) == 2
    for operation in streaming:
        (alt,) = [each for each in operation["parameters"] if each["name"] == "alt"]
        assert (alt["in"], alt["required"], alt["schema"]) == ("query", True, {"const": "sse"})
        assert set(operation["responses"]["200"]["content"]) == {"text/event-stream"}
    plain = SPEC["paths"]["/v1/models/{model}:generateContent"]["post"]
    assert not [each for each in plain["parameters"] if each["name"] == "alt"]


@pytest.mark.parametrize("surface", list(Surface))
def test_errors_look_as_documented(surface: Surface) -> None:
    """Every member of an error body stands in the schema under its media type."""
    body = json.loads(render_error(surface, code="overloaded", message="m", paid=Charge.NO, retry_after_s=1))
    paths = {
        Surface.OPENAI: "/v1/images/generations",
        Surface.GEMINI: "/v1beta/models/{model}:generateContent",
        Surface.GENERATIONS: "/v1/generations/{id}",
        Surface.CHAT: "/v1/chat/completions",
    }
    operation = next(iter(SPEC["paths"][paths[surface]].values()))
    ((media, content),) = operation["responses"]["500"]["content"].items()
    assert media.encode() == content_type_of(surface)
    schema = resolved(content["schema"])
    assert set(schema["required"]) <= set(body)
    inner = schema["properties"]["error"] if "error" in body else schema
    told = body.get("error", body)
    assert set(inner["required"]) <= set(told)
    assert {"paid", "retryable", "generation_id"} <= set(inner["properties"]) & set(told)
    assert told["paid"] in inner["properties"]["paid"]["enum"]
    shown = set(inner["properties"])
    assert set(told) <= shown, set(told) - shown


def codes_of(operation: dict[str, Any]) -> dict[str, set[int]]:
    """Give the codes that an operation documents, each with its statuses."""
    found: dict[str, set[int]] = {}
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            for code in CODES.keys() & set(re.findall(r"`(\w+)`", response["description"])):
                found.setdefault(code, set()).add(int(status))
    return found


def test_a_failure_is_documented_with_its_status() -> None:
    """No `default` hides what may come; a code stands under the statuses that callers of this surface are sent."""
    surfaces = {(path_of(each.pattern), each.method.lower()): each.surface for each in served()}
    for path, method, operation in operations():
        assert "default" not in operation["responses"]
        surface = surfaces[path, method]
        for code, statuses in codes_of(operation).items():
            wanted = {status_of(surface, code, paid) for paid in Charge}
            assert statuses - {414} == wanted, (path, code)


def test_what_any_request_may_meet_is_documented_everywhere() -> None:
    """A malformed or slow request fails before anybody knows which operation it is; most ask for a key."""
    for path, _, operation in operations():
        assert {"400", "404", "408", "414", "431", "500"} <= set(operation["responses"]), path
        assert ("401" in operation["responses"]) is (operation.get("security") != []), path


def test_every_code_is_documented_somewhere() -> None:
    """What is missing is not answered by this version, or is no operation's own."""
    documented = {code for _, _, operation in operations() for code in codes_of(operation)}
    nowhere = set(CODES) - documented
    assert nowhere == {"budget_exhausted", "method_not_allowed"}


def test_links_lead_to_operations_and_name_their_parameters() -> None:
    """What an answer gives is what the next operation takes."""
    by_id = {operation["operationId"]: operation for _, _, operation in operations()}
    links = [
        link
        for _, _, operation in operations()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(links) >= 15
    for link in links:
        target = by_id[link["operationId"]]
        names = {each["name"] for each in target["parameters"] if each["in"] == "path"}
        assert set(link["parameters"]) == names


def test_what_a_parameter_takes_is_what_its_pattern_says() -> None:
    """The document's patterns against the code that reads."""
    follow = SPEC["paths"]["/v1/generations/{id}/events"]["get"]["parameters"]
    (last,) = [each["schema"]["pattern"] for each in follow if each["name"] == "Last-Event-ID"]
    create = SPEC["paths"]["/v1/generations"]["post"]["parameters"]
    (timeout,) = [each["schema"]["pattern"] for each in create if each["name"] == "Holdfast-Timeout"]
    for text in ("0", "7", "9" * 18, "9" * 19, "-1", "1.0", "x", "٣"):
        assert bool(re.fullmatch(last, text)) is taken(partial(decode_events_query, {}, text)), text
    for text in ("1", "0.5", "600", "3599.5", "3600", "3601", "0", "0.0", "-1", "1e3", "NaN", "x"):
        read = partial(asked_timeout_s, {"holdfast-timeout": text})
        assert bool(re.fullmatch(timeout, text)) is taken(read), text


def taken(read: Callable[[], Any]) -> bool:
    """Whether something is read without a complaint."""
    try:
        read()
    except RequestError:
        return False
    return True


def test_what_is_one_segment_of_a_path_is_found() -> None:
    """An id fits its pattern exactly if an endpoint takes it: colons are Google's, control characters nobody's."""
    (schema,) = [
        each["schema"] for each in SPEC["paths"]["/v1/generations/{id}"]["get"]["parameters"] if each["in"] == "path"
    ]
    endpoint = next(each for each in served() if path_of(each.pattern) == "/v1/generations/{id}")
    for text in ("gen_1", "a b", "ä", "a:b", "a/b", ""):
        assert bool(re.search(schema["pattern"], text)) is bool(endpoint.pattern.fullmatch(f"/v1/generations/{text}"))
    assert not re.search(schema["pattern"], "a\nb")
    assert not re.search(schema["pattern"], "a\x7f")


def test_what_may_be_asked_of_latencies_is_what_is_taken() -> None:
    """Parameters and their values, from both sides."""
    operation = SPEC["paths"]["/v1/latency"]["get"]
    listed = {each["name"]: each["schema"] for each in operation["parameters"]}
    assert tuple(listed) == LATENCY_PARAMETERS
    for name, schema in listed.items():
        for value in schema.get("enum", ["nano-banana-pro"]):
            decode_latency_query({name: value})
    schema = resolved(operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert set(schema["properties"]) == set(LatencyReport.__struct_fields__)


def test_what_may_be_asked_of_a_probe_is_what_is_taken() -> None:
    """Parameters and their values, from both sides; an answer is documented by the type that is written."""
    operation = SPEC["paths"]["/v1/probe/hold"]["get"]
    listed = {each["name"]: each for each in operation["parameters"]}
    assert tuple(listed) == HOLD_PARAMETERS
    assert [name for name, each in listed.items() if each["required"]] == ["seconds"]
    for status in listed["interim"]["schema"]["enum"]:
        decode_hold_query({"seconds": "1", "beat": "1", "interim": status})
    for name in ("seconds", "beat"):
        schema = listed[name]["schema"]
        for value in (schema["minimum"], schema["maximum"]):
            decode_hold_query({"seconds": "1", name: str(value)})
        with pytest.raises(RequestError):
            decode_hold_query({"seconds": "1", name: str(schema["maximum"] + 1)})
    for text in ("prb_12345", "short", "a b c d e", "a" * 64, "a" * 65):
        fits = re.search(listed["id"]["schema"]["pattern"], text)
        if fits:
            decode_hold_query({"seconds": "1", "id": text})
        else:
            with pytest.raises(RequestError):
                decode_hold_query({"seconds": "1", "id": text})
    for path, method, made in (
        ("/v1/probe/hold", "get", ProbeAnswer),
        ("/v1/probe/hold/{id}", "get", ProbeReport),
        ("/v1/probe/echo", "get", Echo),
        ("/v1/probe/echo", "post", Echo),
    ):
        answer = SPEC["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(resolved(answer)["properties"]) == set(made.__struct_fields__)


class _Loads(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[tuple[str, str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note sources and links."""
        self.tags.add(tag)
        self.fetched += [(tag, value or "") for name, value in attrs if name in ("src", "href", "action", "data")]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """No script, no font, no image: it works without a network and tells nobody who reads it."""
    page = openapi.page(openapi.document()).decode()
    parser = _Loads()
    parser.feed(page)
    assert parser.fetched == [("a", "/openapi.json")]
    assert not parser.tags & {"script", "img", "iframe", "link", "object", "embed", "form"}
    assert "url(" not in page
    assert "@import" not in page
    assert "@rows" not in page
    assert "@codes" not in page


def test_the_page_lists_every_endpoint_and_every_code() -> None:
    """What a person looks up first."""
    page = openapi.page(openapi.document()).decode()
    for path, method, _ in operations():
        assert f"<code>{method.upper()}</code></td><td><code>{path}</code>" in page
    for code, row in CODES.items():
        assert f"<code>{code}</code></td><td>{row.status}</td>" in page


def test_the_page_escapes_what_it_shows() -> None:
    """A path or a summary is text, whatever stands in it."""
    spec = {"paths": {"/<b>": {"get": {"summary": "<script>alert(1)</script>"}}}}
    page = openapi.page(msgspec.json.encode(spec)).decode()
    assert "<script>" not in page
    assert "/&lt;b&gt;" in page
