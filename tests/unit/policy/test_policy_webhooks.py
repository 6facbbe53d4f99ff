"""When a webhook is sent again, what its answer means, and how it is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from holdfast.policy.webhooks import (
    JITTER_SHARE,
    RETRY_AFTER_S_MAX,
    SCHEDULE_S,
    Again,
    Answered,
    Broken,
    Delivered,
    Disabled,
    GivenUp,
    decide,
    secret_of,
    signed_headers,
    signing_numbers,
    spell_secret,
)

FOLDER = b"\x05" * 32
BODY = b'{"type":"generation.succeeded","data":{"id":"gen_1"}}'
LOST = Broken(reason="no answer in time")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Whatever the receiver says in its body."""
    assert decide(Answered(status=status), tries=1, jitter=0.5) == Delivered()


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 429, 500, 502, 503, 101])
def test_everything_else_is_tried_again(status: int) -> None:
    """A redirect too: where it leads has not been looked at. And a 404 may be a deploy."""
    assert decide(Answered(status=status), tries=1, jitter=0.0) == Again(after_s=5.0)


def test_410_ends_it_at_once() -> None:
    """The receiver says that nothing more is wanted, at the first try as at the last."""
    for tries in range(1, len(SCHEDULE_S) + 1):
        assert decide(Answered(status=410), tries=tries, jitter=0.5) == Disabled()


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    """At once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h; then no more."""
    pauses = []
    tries = 1
    while isinstance(decided := decide(LOST, tries=tries, jitter=0.0), Again):
        pauses.append(decided.after_s)
        tries += 1
    assert decided == GivenUp()
    assert tries == len(SCHEDULE_S)
    assert [0.0, *pauses] == [0.0, 5.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0]


def test_chance_spreads_what_failed_together() -> None:
    """By a tenth at most, never earlier than the schedule."""
    early, late = (decide(LOST, tries=2, jitter=jitter) for jitter in (0.0, 0.999))
    assert isinstance(early, Again)
    assert isinstance(late, Again)
    assert early.after_s == 300.0
    assert 300.0 < late.after_s < 300.0 * (1 + JITTER_SHARE)


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_may_ask_for_more_time(status: int) -> None:
    """Its Retry-After is waited for, and no more than the longest pause."""
    assert decide(Answered(status=status, retry_after_s=60.0), tries=1, jitter=0.0) == Again(after_s=60.0)
    assert decide(Answered(status=status, retry_after_s=1e9), tries=1, jitter=0.0) == Again(after_s=RETRY_AFTER_S_MAX)


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_cannot_hurry_us(status: int) -> None:
    """A hint shorter than the schedule changes nothing, nor does one that makes no sense."""
    for hint_s in (0.0, 1.0, -5.0, None):
        assert decide(Answered(status=status, retry_after_s=hint_s), tries=2, jitter=0.0) == Again(after_s=300.0)


@pytest.mark.parametrize("status", [500, 404, 302])
def test_retry_after_counts_only_where_it_has_a_meaning(status: int) -> None:
    """As RFC 9110 and 6585 give it one: 429 and 503."""
    assert decide(Answered(status=status, retry_after_s=60.0), tries=1, jitter=0.0) == Again(after_s=5.0)


def test_a_hint_does_not_add_tries() -> None:
    """Who answers 503 for ever is given up on like everybody else."""
    assert decide(Answered(status=503, retry_after_s=1.0), tries=len(SCHEDULE_S), jitter=0.0) == GivenUp()


# Signing


def headers_of(secrets: list[bytes], *, body: bytes = BODY, unix_s: int | None = None) -> dict[str, str]:
    """Sign a body now."""
    at = int(time.time()) if unix_s is None else unix_s
    return dict(signed_headers(secrets, message_id="msg_1", unix_s=at, body=body))


def test_the_published_example_is_signed_as_published() -> None:
    """Source: the vector that the specification's libraries are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = dict(
        signed_headers(
            [secret],
            message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            unix_s=1614265330,
            body=b'{"test": 2432232314}',
        )
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_standard_library_of_receivers_accepts_it() -> None:
    """`standardwebhooks` is what a receiver in Python uses."""
    secret = secret_of(FOLDER, "whk_1", 1)
    assert Webhook(spell_secret(secret)).verify(BODY, headers_of([secret])) == json.loads(BODY)


def test_while_two_secrets_are_valid_a_receiver_with_either_accepts_it() -> None:
    """A receiver can be given the new one at any moment of the day; one with a third secret refuses."""
    new, old, other = (secret_of(FOLDER, "whk_1", number) for number in (3, 2, 1))
    headers = headers_of([new, old])
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (new, old):
        assert Webhook(spell_secret(secret)).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(spell_secret(other)).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
def test_what_was_changed_on_the_way_is_refused(changed: str) -> None:
    """Id, time and body are all under the signature."""
    secret = secret_of(FOLDER, "whk_1", 1)
    headers = headers_of([secret])
    body = BODY + b" " if changed == "body" else BODY
    if changed == "webhook-timestamp":
        headers[changed] = str(int(headers[changed]) + 1)
    elif changed != "body":
        headers[changed] += "x"
    with pytest.raises(WebhookVerificationError):
        Webhook(spell_secret(secret)).verify(body, headers)


def test_an_old_message_cannot_be_played_again() -> None:
    """Receivers refuse a time that is minutes away; so each try is signed anew."""
    secret = secret_of(FOLDER, "whk_1", 1)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(spell_secret(secret)).verify(BODY, headers_of([secret], unix_s=int(time.time()) - 3600))


def test_a_body_is_signed_as_bytes() -> None:
    """Not as text that was decoded and encoded again."""
    body = '{"x":"\N{LATIN SMALL LETTER E WITH ACUTE}"}'.encode()
    secret = secret_of(FOLDER, "whk_1", 1)
    expected = hmac.new(secret, b"msg_1.7." + body, hashlib.sha256).digest()
    assert headers_of([secret], body=body, unix_s=7)["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


def test_secrets_differ_by_folder_endpoint_and_number_and_never_by_chance() -> None:
    """A restart signs with the same; nobody's is anybody else's."""
    made = [secret_of(FOLDER, "whk_1", 1), secret_of(FOLDER, "whk_1", 2), secret_of(FOLDER, "whk_2", 1)]
    made += [secret_of(b"\x06" * 32, "whk_1", 1), secret_of(FOLDER, "whk_11", 1), secret_of(FOLDER, "whk_1", 11)]
    assert len(set(made)) == len(made)
    assert secret_of(FOLDER, "whk_1", 1) == made[0]
    assert {len(each) for each in made} == {32}


def test_a_secret_is_spelled_as_the_specification_has_it() -> None:
    """`whsec_` and base64, of 24 to 64 bytes."""
    spelled = spell_secret(secret_of(FOLDER, "whk_1", 1))
    assert spelled.startswith("whsec_")
    assert 24 <= len(base64.b64decode(spelled.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.parametrize(
    ("number", "until", "numbers"),
    [
        (1, None, (1,)),
        (2, "2026-01-02T00:00:00.000Z", (2, 1)),
        (2, "2026-01-01T00:00:00.000Z", (2,)),
        (2, "2025-12-31T00:00:00.000Z", (2,)),
        (9, "2026-01-02T00:00:00.000Z", (9, 8)),
    ],
)
def test_the_one_before_signs_until_its_time_is_over(number: int, until: str | None, numbers: tuple[int, ...]) -> None:
    """Two at most, the newest first."""
    assert signing_numbers(number, until, "2026-01-01T00:00:00.000Z") == numbers
