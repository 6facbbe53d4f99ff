"""How each SDK is told that there is no image: by the true status while it is free, afterwards so that it raises.

openai is used with the retries that it comes with: where a repeat could buy again, none must be made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import openai
import pytest
from google.genai import errors as google_errors

LATE_S = 1.3
"""Two beats after the request; the status is spent."""
LATE = {
    "broken": f"[sim status=500 delay={LATE_S}]",
    "refused": f"[sim fault=refused_output delay={LATE_S}]",
    "forbidden": f"[sim fault=refused_input delay={LATE_S}]",
}
PLAIN_GOOGLE = ("google", "google-async")
PLAIN_OPENAI = ("openai", "openai-async")
STREAMS_OPENAI = ("openai-stream", "openai-previews", "openai-async-stream")
GOOGLE = ("google", "google-async", "google-stream", "google-async-stream")
STREAMS_GOOGLE = ("google-stream", "google-async-stream")


@pytest.fixture(scope="module")
def late(stage: Any, callers: ModuleType) -> Iterator[dict[tuple[str, str], Future[Any]]]:
    """Begin every call that will fail when its beats have begun."""
    retries = openai.DEFAULT_MAX_RETRIES
    yield {
        (flavour, how): stage.begin(flavour, f"late {flavour} {how} {wish}", retries=retries)
        for flavour in callers.FLAVOURS
        for how, wish in LATE.items()
    }


def told_late(stage: Any, flavour: str, how: str) -> dict[str, Any]:
    """Give the record of a call that was told late; it was made once, by caller and gateway alike."""
    generation_id = stage.only_generation(f"late {flavour} {how} ")
    record = stage.gateway.record(generation_id)
    assert record["status"] == "failed"
    assert stage.simulator.requests(generation_id) == 1
    return dict(record)


@pytest.mark.parametrize("plain", PLAIN_GOOGLE)
def test_a_late_failure_raises_in_google_and_names_the_generation(
    late: dict[tuple[str, str], Future[Any]], stage: Any, plain: str
) -> None:
    """A 200 that ends in a line of text is no JSON: the SDK raises, at once, and posts no second time."""
    with pytest.raises(json.JSONDecodeError) as raised:
        late[plain, "broken"].result()
    record = told_late(stage, plain, "broken")
    assert record["error"]["code"] == "upstream_failed"
    assert record["paid"] == "unknown"
    told = raised.value.doc
    assert told.startswith("\n")
    assert told.strip() == f"holdfast: generation {record['id']} failed: upstream_failed: {record['error']['message']}"


@pytest.mark.parametrize("plain", PLAIN_OPENAI)
def test_a_late_failure_raises_in_openai_as_an_early_one_does(
    late: dict[tuple[str, str], Future[Any]], stage: Any, plain: str
) -> None:
    """Its 200 is broken off, its own repeat joins and has the true status: the exception that programs know."""
    with pytest.raises(openai.InternalServerError) as raised:
        late[plain, "broken"].result()
    record = told_late(stage, plain, "broken")
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_failed")
    assert isinstance(raised.value.body, dict)
    assert (raised.value.body["generation_id"], raised.value.body["paid"]) == (record["id"], "unknown")


@pytest.mark.parametrize("how", ["refused", "forbidden"])
@pytest.mark.parametrize("plain", PLAIN_OPENAI)
def test_a_late_refusal_raises_in_openai(
    late: dict[tuple[str, str], Future[Any]], stage: Any, plain: str, how: str
) -> None:
    """A refusal whose status was spent is a refusal all the same: never an empty success, never asked for again."""
    with pytest.raises(openai.BadRequestError) as raised:
        late[plain, how].result()
    record = told_late(stage, plain, how)
    assert raised.value.code == "moderation_blocked"
    assert raised.value.response.headers["generation-id"] == record["id"]


@pytest.mark.parametrize("how", LATE)
@pytest.mark.parametrize("streamed", STREAMS_OPENAI)
def test_an_error_event_raises_in_a_stream_of_openai(
    late: dict[tuple[str, str], Future[Any]], stage: Any, streamed: str, how: str
) -> None:
    """In a stream the error is an event, and the SDK knows it: its code is that of the true status."""
    with pytest.raises(openai.APIError) as raised:
        late[streamed, how].result()
    record = told_late(stage, streamed, how)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.message == record["error"]["message"]
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["generation_id"] == record["id"]
    assert raised.value.code == ("upstream_failed" if how == "broken" else "moderation_blocked")


@pytest.mark.parametrize("streamed", STREAMS_GOOGLE)
def test_an_error_event_raises_in_a_stream_of_google(
    late: dict[tuple[str, str], Future[Any]], stage: Any, streamed: str
) -> None:
    """The event carries the status that could not be sent."""
    with pytest.raises(google_errors.ServerError) as raised:
        late[streamed, "broken"].result()
    record = told_late(stage, streamed, "broken")
    assert (raised.value.code, raised.value.status) == (500, "INTERNAL")
    assert record["id"] in str(raised.value)


@pytest.mark.parametrize("google", GOOGLE)
def test_a_late_refusal_is_told_the_way_google_does(
    late: dict[tuple[str, str], Future[Any]], stage: Any, google: str
) -> None:
    """There a refusal is a 200 anyway: no image, and the reason where programs look for it."""
    shown = late[google, "refused"].result()
    assert (shown.images, shown.reasons) == ([], ["IMAGE_SAFETY"])
    assert shown.generation_id == told_late(stage, google, "refused")["id"]
    asked = late[google, "forbidden"].result()
    assert asked.images == []
    # The vendor's own word, or ours where another vendor refused.
    assert asked.reasons == ["PROHIBITED_CONTENT" if google == "google-async" else "OTHER"]
    assert told_late(stage, google, "forbidden")["paid"] == "no"


@pytest.mark.parametrize(("how", "reason"), [("refused_input", "OTHER"), ("refused_output", "IMAGE_SAFETY")])
def test_an_early_refusal_keeps_its_status(stage: Any, callers: ModuleType, how: str, reason: str) -> None:
    """What is refused before the first beat is a 400 to openai, which does not repeat it, and a 200 to Google."""
    with pytest.raises(openai.BadRequestError) as raised:
        # Without beats it is early however busy the machine is.
        stage.begin("openai", f"early {how} [sim fault={how}]", retries=2, headers=callers.SILENT).result()
    assert raised.value.code == "moderation_blocked"
    assert raised.value.type == "image_generation_user_error"
    assert raised.value.response.headers["x-should-retry"] == "false"
    generation_id = stage.only_generation(f"early {how} ")
    assert raised.value.response.headers["generation-id"] == generation_id
    assert stage.simulator.requests(generation_id) == 1
    got = stage.begin("google", f"early Google {how} [sim fault={how}]").result()
    assert (got.images, got.reasons) == ([], [reason])


def test_a_wrong_key_is_401_in_both(stage: Any, flavour: str) -> None:
    """Nothing is accepted, nothing bought; the SDK's exception is the one for keys."""
    before = len(stage.simulator.charges())
    with pytest.raises((openai.AuthenticationError, google_errors.ClientError)) as raised:
        stage.begin(flavour, f"stranger {flavour}", key="hf-wrong").result()
    error = raised.value
    if isinstance(error, openai.AuthenticationError):
        assert error.code == "invalid_api_key"
    else:
        assert isinstance(error, google_errors.ClientError)
        assert (error.code, error.status) == (401, "UNAUTHENTICATED")
    assert stage.gateway.generations(f"stranger {flavour}") == []
    assert len(stage.simulator.charges()) == before


def test_an_unknown_model_is_404_in_both(stage: Any, callers: ModuleType) -> None:
    """The message names the models there are."""
    asked = stage.asked("nobody draws this")
    with openai.OpenAI(**callers.openai_options(asked)) as client, pytest.raises(openai.NotFoundError) as raised:
        client.images.generate(model="dall-e-3", prompt=asked.prompt)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
    assert "nano-banana-pro" in raised.value.message
    with callers.google_client(asked) as client, pytest.raises(google_errors.ClientError) as missed:
        client.models.generate_content(model="gemini-9", contents=asked.prompt)
    assert (missed.value.code, missed.value.status) == (404, "NOT_FOUND")
    assert stage.gateway.generations("nobody draws this") == []


def test_a_size_that_nobody_draws_is_400_in_both(stage: Any, callers: ModuleType) -> None:
    """A mistake is told before anything is paid, naming the field."""
    asked = stage.asked("much too large")
    with openai.OpenAI(**callers.openai_options(asked)) as client, pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model="nano-banana-pro", prompt=asked.prompt, size="9000x9000")  # type: ignore[call-overload]
    assert (raised.value.code, raised.value.param) == ("unsupported_size", "size")
    with callers.google_client(asked) as client, pytest.raises(google_errors.ClientError) as refused:
        config = {"image_config": {"image_size": "8K"}}
        client.models.generate_content(model="gemini-3-pro-image", contents=asked.prompt, config=config)
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert stage.gateway.generations("much too large") == []


NO_TIME_TO_WAIT = {"Holdfast-Timeout": "30", "Prefer": "heartbeat=0"}
"""An image takes 45 s as a rule: after one that failed no other would be in time. And no beat comes before it."""


@pytest.mark.parametrize("status", [429, 503])
def test_an_upstream_that_is_busy_is_503_and_invites_a_repeat(stage: Any, status: int) -> None:
    """Where there is no time to wait for it: unpaid, the status the gateway's own, the upstream's hint passed on."""
    wish = f"[sim status={status} retry_after=7]"
    with pytest.raises(openai.InternalServerError) as raised:
        stage.begin("openai", f"busy {status} {wish}", headers=NO_TIME_TO_WAIT).result()
    assert (raised.value.status_code, raised.value.code) == (503, "server_is_overloaded")
    assert raised.value.response.headers["x-should-retry"] == "true"
    assert raised.value.response.headers["retry-after"] == "7"
    with pytest.raises(google_errors.ServerError) as also:
        stage.begin("google", f"busy for Google {status} {wish}", headers=NO_TIME_TO_WAIT).result()
    assert (also.value.code, also.value.status) == (503, "UNAVAILABLE")
    for prompt in (f"busy {status} ", f"busy for Google {status} "):
        generation_id = stage.only_generation(prompt)
        assert stage.gateway.record(generation_id)["paid"] == "no"
        assert stage.simulator.purchases(generation_id) == []


def test_the_invited_repeat_of_openai_gets_the_image(stage: Any) -> None:
    """Its default retries take the hint: the second POST drives the same generation again, which is paid once."""
    stage.simulator.script({"match": {"prompt_contains": "at the second try"}, "do": ["status=503", "none"]})
    retries = openai.DEFAULT_MAX_RETRIES
    got = stage.begin("openai", "at the second try", retries=retries, headers=NO_TIME_TO_WAIT).result()
    assert got.generation_id == stage.only_generation("at the second try")
    assert len(got.images) == 1
    assert len(stage.simulator.purchases(got.generation_id)) == 1


@pytest.mark.parametrize("sdk", ["openai", "google"])
def test_a_busy_upstream_is_waited_out_and_no_sdk_sees_it(stage: Any, sdk: str) -> None:
    """Twice 503 and 429, and an SDK that never repeats gets its image: three requests, one purchase, no error."""
    prompt = f"worth the wait for {sdk}"
    stage.simulator.script({"match": {"prompt_contains": prompt}, "do": ["status=503", "retry_after=1", "none"]})
    got = stage.begin(sdk, prompt).result()
    assert len(got.images) == 1
    generation_id = stage.only_generation(prompt)
    assert stage.simulator.requests(generation_id) == 3
    assert len(stage.simulator.purchases(generation_id)) == 1
    assert [each["charge"] for each in stage.gateway.record(generation_id)["attempts"]] == ["no", "no", "yes"]


@pytest.mark.parametrize("wish", ["status=500", "fault=reset_sent", "fault=truncate"])
def test_what_may_have_been_paid_is_not_bought_again(stage: Any, wish: str) -> None:
    """The header that stops the SDK's retries is the difference between one purchase and three."""
    prompt = f"paid perhaps {wish} "
    with pytest.raises(openai.InternalServerError) as raised:
        stage.begin("openai", f"{prompt}[sim {wish}]", retries=openai.DEFAULT_MAX_RETRIES).result()
    assert raised.value.status_code == 502
    assert raised.value.response.headers["x-should-retry"] == "false"
    generation_id = stage.only_generation(prompt)
    assert stage.gateway.record(generation_id)["paid"] in ("unknown", "yes")
    assert stage.simulator.requests(generation_id) == 1
