"""What a caller asks of us about buying: how often at most, and whether a smaller size will do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from holdfast.errors import RequestError
from holdfast.types import Request

_PURCHASES = re.compile(r"[1-9]")


def asked_purchases(headers: Mapping[str, str]) -> int | None:
    """Read `Holdfast-Purchases`: most calls for one image that may be charged; None when it is not said.

    The operator's own limit counts where it is lower.

    Raises:
        RequestError: It is no whole number from 1 to 9.
    """
    text = headers.get("holdfast-purchases")
    if text is None:
        return None
    if not _PURCHASES.fullmatch(text.strip()):
        raise RequestError("Holdfast-Purchases must be a whole number from 1 to 9.", param="Holdfast-Purchases")
    return int(text)


def may_degrade(headers: Mapping[str, str]) -> bool:
    """Read `Holdfast-Degrade`: whether a smaller size may be served when nothing else can.

    Raises:
        RequestError: It names anything but `size`, which is all that may be given up.
    """
    text = headers.get("holdfast-degrade")
    if text is None:
        return False
    if text.strip().lower() != "size":
        raise RequestError("Holdfast-Degrade takes one word: size.", param="Holdfast-Degrade")
    return True


def as_wished(request: Request, headers: Mapping[str, str]) -> Request:
    """Put what a caller asks about buying beside what he asks for.

    Raises:
        RequestError: One of the headers is malformed.
    """
    purchases, degrades = asked_purchases(headers), may_degrade(headers)
    if purchases is None and not degrades:
        return request
    return replace(request, purchases_max=purchases, may_degrade=degrades)
