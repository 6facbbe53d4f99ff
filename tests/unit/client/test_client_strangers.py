"""What strangers say on the way, or in a holdfast's place: none of it is leave to buy again, or to go elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.client.address import Server
from holdfast.client.steps import Finished, Raise
from holdfast.errors import HoldfastError, TransportError
from holdfast.types import Charge

PLAIN = [Server.OPENAI, Server.GEMINI]


def finished(step: Any) -> None:
    """See that it came home."""
    assert isinstance(step, Finished), step


def raised(step: Any, kind: type[HoldfastError], paid: Charge) -> None:
    """See how it failed, and what may be paid."""
    assert isinstance(step, Raise), step
    assert type(step.error) is kind, repr(step.error)
    assert step.error.paid is paid


@pytest.mark.parametrize("server", [None, *PLAIN])
def test_a_proxy_that_gave_up_waiting_is_not_a_server_that_is_busy(kit: Any, server: Any) -> None:
    """Varnish says 503 when what is behind it took too long: that has the request, and may charge for it."""
    drive = kit.a_drive(server)
    drive.exchange_s = 60.0
    script = [kit.error(503, retry_after="5")]
    if server is None:
        script.append(kit.plain_error(404))
    raised(drive.run(script), TransportError, Charge.UNKNOWN)
    assert len(drive.submits) == 1
    drive = kit.a_drive(server)
    finished(drive.run([kit.error(503), kit.images()]))
    assert len(drive.submits) == 2, "at once it is a server that starts"


def test_an_empty_list_is_only_believed_with_the_mark_of_holdfast(kit: Any) -> None:
    """A relay that answers every unknown path with OpenAI's empty list keeps nothing: nothing is repeated there."""
    drive = kit.a_drive()
    raised(drive.run([kit.cut(), kit.listed(mark=None)]), TransportError, Charge.UNKNOWN)
    assert len(drive.submits) == 1
    drive = kit.a_drive()
    finished(drive.run([kit.cut(), kit.listed(), kit.images()]))
    assert len(drive.submits) == 2


@pytest.mark.parametrize("url", ["@169.254.169.254/latest", ".internal/x", "0/x"])
def test_a_link_that_would_be_glued_to_the_host_is_not_followed(kit: Any, url: str) -> None:
    """Behind `http://h:1` each of them would name another host, or another port, and with the key."""
    drive = kit.a_drive(Server.HOLDFAST)
    raised(drive.run([kit.stands("succeeded", images=[kit.an_image(url=url)])]), TransportError, Charge.YES)
    assert drive.purposes == ["submit"]
