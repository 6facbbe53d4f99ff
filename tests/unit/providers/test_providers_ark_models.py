"""What each Seedream draws, and what Ark's errors mean."""

from __future__ import annotations

import pytest

from holdfast.config import Provider, Upstream
from holdfast.errors import RequestError
from holdfast.policy.sizes import RATIOS, geometry_of
from holdfast.providers.ark_errors import meaning_of
from holdfast.providers.ark_models import Seedream, fitted, model_of, size_of
from holdfast.providers.fit import leaves_out, obstacle
from holdfast.types import Charge, FailureKind, Request, Surface, Tier
from holdfast.wire.answers import UpstreamError

MODELS = (
    *("seedream-4-0-250828", "seedream-4-5-251128", "seedream-5-0-260128", "seedream-5-0-pro-260628"),
    *("seedream-5-5-261028", "ep-20260101-abcde"),
)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (("doubao-seedream-4-0-250828",), "Seedream 4.0"),
        (("seedream-4-250828",), "Seedream 4.0"),
        (("doubao-seedream-4-5-251128",), "Seedream 4.5"),
        (("seedream-5-0-260128",), "Seedream 5.0 lite"),
        (("doubao-seedream-5-0-lite-260128",), "Seedream 5.0 lite"),
        (("doubao-seedream-5-0-pro-260628",), "Seedream 5.0"),
        (("seedream-5-0-flash-260915",), "Seedream 5.0"),
        (("dola-seedream-5-5-261028",), "Seedream 5.5"),
        (("ep-20260101-abcde", "seedream-4.5"), "Seedream 4.5"),
        (("ep-20260101-abcde", "Seedream-5.5"), "Seedream 5.5"),
        (("ep-20260101-abcde", "drawings"), "this model"),
        (("seedream-9-9-991231",), "this model"),
        (("seedream-3-0-t2i-250415",), "this model"),
    ],
)
def test_a_model_is_known_by_its_id_or_by_its_name(names: tuple[str, ...], name: str) -> None:
    """The id of an endpoint says nothing, so the public name is looked at too."""
    assert model_of(*names).name == name


@pytest.mark.parametrize(
    ("model", "tier", "ratio", "size"),
    [
        ("seedream-4-0-250828", Tier.K1, "1:1", "1024x1024"),
        ("seedream-4-5-251128", Tier.K1, "1:1", "2048x2048"),
        ("seedream-4-5-251128", Tier.K1, "9:16", "1536x2752"),
        ("seedream-4-5-251128", Tier.K2, "16:9", "2752x1536"),
        ("seedream-4-5-251128", Tier.K4, "1:1", "4096x4096"),
        ("seedream-4-5-251128", Tier.K4, "16:9", "5472x3056"),
        ("seedream-4-5-251128", Tier.K4, "9:16", "3056x5472"),
        ("seedream-5-0-pro-260628", Tier.K1, "16:9", "1376x768"),
        ("seedream-5-5-261028", Tier.K2, "1:1", "2048x2048"),
    ],
)
def test_a_size_is_spelled_in_pixels(model: str, tier: Tier, ratio: str, size: str) -> None:
    """What is too small becomes the smallest that there is; what is a little too large is drawn a little smaller."""
    assert size_of(model_of(model), geometry_of(tier, ratio)) == size


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("ratio", RATIOS)
def test_every_size_that_is_sent_is_one_that_the_model_draws(model: str, tier: Tier, ratio: str) -> None:
    """Within its bounds, of the ratio that was asked for, and never of fewer pixels than asked for by a class."""
    seedream, wanted = model_of(model), geometry_of(tier, ratio)
    drawn = fitted(seedream, wanted)
    if drawn is None:
        assert wanted.width_px * wanted.height_px * 0.85 > seedream.pixels_max
        return
    area_px = drawn.width_px * drawn.height_px
    assert seedream.pixels_min <= area_px <= seedream.pixels_max
    assert area_px >= 0.8 * min(wanted.width_px * wanted.height_px, seedream.pixels_max)
    assert drawn.width_px % 16 == drawn.height_px % 16 == 0
    asked, got = wanted.width_px / wanted.height_px, drawn.width_px / drawn.height_px
    assert abs(got / asked - 1) < 0.02


def test_pixels_that_a_caller_wrote_are_kept_where_they_can_be() -> None:
    """Only what must change does."""
    seedream = Seedream(name="x", pixels_min=1, pixels_max=1 << 30, inputs_max=1)
    wanted = geometry_of(Tier.K2, "4:3")
    assert fitted(seedream, wanted) is wanted


@pytest.mark.parametrize("model", ["seedream-5-0-pro-260628", "seedream-5-5-261028"])
def test_what_is_too_large_is_refused(model: str) -> None:
    """Fewer pixels than were asked for are another picture."""
    with pytest.raises(RequestError) as refused:
        size_of(model_of(model), geometry_of(Tier.K4, "1:1"))
    assert refused.value.code == "unsupported_size"
    assert "4096x4096 (4K) is more" in refused.value.message


@pytest.mark.parametrize(
    ("provider", "model", "code"),
    [
        (Provider.ARK, "seedream-5-0-pro-260628", "unsupported_size"),
        (Provider.ARK, "seedream-4-5-251128", None),
        (Provider.GEMINI, "seedream-5-0-pro-260628", None),
    ],
)
def test_an_upstream_says_beforehand_what_it_cannot_make(provider: Provider, model: str, code: str | None) -> None:
    """With its name; what others cannot, they say themselves."""
    upstream = Upstream(name="my-ark", provider=provider, base_url="https://ark.example/api/v3")
    request = Request(surface=Surface.OPENAI, model="m", prompt="a", geometry=geometry_of(Tier.K4, "1:1"))
    found = obstacle(upstream, request, model=model)
    assert (found.code if found is not None else None) == code
    if found is not None:
        assert found.message.startswith("my-ark (Ark) cannot make this: Seedream 5.0")
        assert found.status == 400


@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        ("seedream-4-5-251128", ["png", "background"]),
        ("seedream-5-0-260128", ["background"]),
        ("seedream-5-5-261028", []),
        ("ep-20260101-abcde", ["png", "background"]),
    ],
)
def test_what_a_model_leaves_out_is_known(model: str, left_out: list[str]) -> None:
    """It comes without, and whoever asked for it is told."""
    upstream = Upstream(name="my-ark", provider=Provider.ARK, base_url="https://ark.example/api/v3")
    models = (model, "drawings")
    wishes = {"png": ("output_format", "png"), "background": ("background", "opaque")}
    found = [word for word, (name, value) in wishes.items() if leaves_out(upstream, name, value, models=models)]
    assert found == left_out
    assert leaves_out(upstream, "output_format", "webp", models=models)
    assert not leaves_out(upstream, "quality", "high", models=models)
    google = Upstream(name="google", provider=Provider.GEMINI, base_url="https://google.example")
    assert not leaves_out(google, "output_format", "png", models=models)


@pytest.mark.parametrize(
    ("code", "kind", "charge"),
    [
        ("InputTextSensitiveContentDetected", FailureKind.REFUSED_INPUT, Charge.NO),
        ("InputImageSensitiveContentDetected.X", FailureKind.REFUSED_INPUT, Charge.NO),
        ("SensitiveContentDetected", FailureKind.REFUSED_INPUT, Charge.NO),
        ("OutputImageSensitiveContentDetected", FailureKind.REFUSED_OUTPUT, Charge.NO),
        ("InvalidParameter.UnsupportedModel", FailureKind.BAD_REQUEST, Charge.NO),
        ("InvalidImageURL.EmptyURL", FailureKind.BAD_REQUEST, Charge.NO),
        ("AuthenticationError", FailureKind.CREDENTIAL, Charge.NO),
        ("ModelNotOpen", FailureKind.CREDENTIAL, Charge.NO),
        ("AccountOverdueError", FailureKind.QUOTA_SPENT, Charge.NO),
        ("SetLimitExceeded", FailureKind.QUOTA_SPENT, Charge.NO),
        ("RateLimitExceeded.EndpointTPMExceeded", FailureKind.RATE_LIMITED, Charge.NO),
        ("ServerOverloaded", FailureKind.OVERLOADED, Charge.NO),
        ("InternalServiceError", FailureKind.SERVER_FAULT, Charge.UNKNOWN),
    ],
)
def test_a_code_counts_more_than_its_status(code: str, kind: FailureKind, charge: Charge) -> None:
    """By its beginning; the statuses around it say less."""
    for status in (200, 400, 429, 500):
        meaning = meaning_of(status, UpstreamError(status=None, message="", code=code))
        assert (meaning.kind, meaning.charge) == (kind, charge)


def test_a_code_that_is_not_known_means_what_its_status_means() -> None:
    """400 is the caller's, 500 the server's, and an answer's own has none."""
    error = UpstreamError(status=None, message="", code="SomethingNew")
    kinds = [meaning_of(status, error).kind for status in (400, 404, 429, 500, 200)]
    assert kinds == [
        *(FailureKind.BAD_REQUEST, FailureKind.BAD_REQUEST, FailureKind.RATE_LIMITED),
        *(FailureKind.SERVER_FAULT, FailureKind.SERVER_FAULT),
    ]


def test_what_is_not_counted_is_not_billed() -> None:
    """`generated_images` is 0: the vendor's own count; a reseller counts calls."""
    error = UpstreamError(status=None, message="", code="InternalServiceError")
    assert meaning_of(200, error, generated=0).charge is Charge.NO
    assert meaning_of(200, error, generated=1).charge is Charge.UNKNOWN
    assert meaning_of(200, error, generated=0, is_relay=True).charge is Charge.UNKNOWN
