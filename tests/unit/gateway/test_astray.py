"""What a 404 says to a caller whose base URL is a piece too short or too long."""

from __future__ import annotations

import pytest

from holdfast.gateway.astray import astray

SERVED = {"/v1/images/generations", "/v1/models", "/v1beta/models/m:generateContent", "/docs"}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/images/generations", "must end in /v1."),
        ("/models", "must end in /v1."),
        ("/v1/v1/models", "must not end in /v1."),
        ("/v1/v1beta/models/m:generateContent", "must not end in /v1."),
        ("/v1beta/v1beta/models/m:generateContent", "must not end in /v1."),
        ("/docs/", "Leave out the slash"),
        ("/v1/v1/nothing", "See /docs."),
        ("/", "See /docs."),
        ("", "See /docs."),
    ],
)
def test_a_path_gone_astray_says_what_to_change(path: str, hint: str) -> None:
    """Only where the change leads to something that is served."""
    assert hint in astray(path, SERVED.__contains__)
