"""What an object store's refusal means, as an `OSError` whose words say what to change."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from obstore.exceptions import (
    BaseError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)

_STATUS = re.compile(r"Server returned (?:non-2xx status code|error response): (\d{3})")
_CODE = re.compile(r"(?:<Code>|\(code: )(\w{1,60})")
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_WRONG_KEY = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "InvalidSecurity"})
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})


class Trouble(StrEnum):
    """Why a store did not do what it was asked for."""

    AWAY = "away"
    """It cannot be reached, does not answer in time, or says that it is overloaded. It may be back in a moment."""
    NO_BUCKET = "no_bucket"
    FORBIDDEN = "forbidden"
    WRONG_KEY = "wrong_key"
    CLOCK = "clock"
    """This machine's clock and the store's are too far apart for signatures."""
    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"
    """It gives other bytes than were put."""
    REFUSED = "refused"
    """Anything else that it answers."""


_WORDS = {
    Trouble.AWAY: "it cannot be reached, or does not answer in time",
    Trouble.NO_BUCKET: "the bucket does not exist: create it, or correct store.blobs",
    Trouble.FORBIDDEN: "it forbids what was asked: allow this credential to put, get, list and delete objects there",
    Trouble.WRONG_KEY: "it does not know this credential: see objects.access_key_id and objects.secret_access_key",
    Trouble.CLOCK: "it refuses signatures of this hour: set this machine's clock",
    Trouble.UNSUPPORTED: "it cannot do what is needed of it (a put that creates only)",
    Trouble.DAMAGED: "it gave other bytes than were put",
    Trouble.REFUSED: "it refused",
}


class ObjectError(OSError):
    """A store did not do what it was asked for. Its text names neither keys nor anything of a request."""

    def __init__(self, trouble: Trouble, *, status: int | None = None, code: str | None = None) -> None:
        told = ", ".join(filter(None, (f"status {status}" if status else "", code)))
        text = f"the object store: {_WORDS[trouble]}{f' ({told})' if told else ''}"
        super().__init__(errno.ETIMEDOUT if trouble is Trouble.AWAY else errno.EIO, text)
        self.trouble = trouble
        self.status = status
        self.code = code


@contextmanager
def translated() -> Iterator[None]:
    """Make what obstore raises an `ObjectError`; `FileNotFoundError` stays what it is.

    Raises:
        FileNotFoundError: There is no such object.
        ObjectError: Anything else went wrong.
    """
    try:
        yield
    except (NotFoundError, FileNotFoundError) as exc:
        # The library raises either, after the store it speaks to.
        error = error_of(exc)
        if error.trouble is Trouble.NO_BUCKET:
            raise error from exc
        raise FileNotFoundError(errno.ENOENT, "there is no such object") from exc
    except (BaseError, PermissionError) as exc:
        raise error_of(exc) from exc
    except (OSError, RuntimeError) as exc:
        # What a stream raises while it is read.
        raise ObjectError(Trouble.AWAY) from exc


def error_of(exc: Exception) -> ObjectError:
    """Read what an exception of obstore means.

    It carries the server's answer as text alone, so status and code, which are for machines, are taken out of that.
    """
    text = str(exc)
    status = int(found[1]) if (found := _STATUS.search(text)) else None
    code = found[1] if (found := _CODE.search(text)) else None
    return ObjectError(_trouble_of(exc, status, code), status=status, code=code)


def _trouble_of(exc: Exception, status: int | None, code: str | None) -> Trouble:
    if code in _NO_BUCKET:
        return Trouble.NO_BUCKET
    if code in _SKEWED:
        return Trouble.CLOCK
    if code in _WRONG_KEY:
        return Trouble.WRONG_KEY
    if isinstance(exc, NotSupportedError) or status == 501:
        return Trouble.UNSUPPORTED
    if isinstance(exc, PermissionDeniedError | UnauthenticatedError | PermissionError) or code == "AccessDenied":
        return Trouble.FORBIDDEN
    if status is None or status >= 500 or status in (408, 429):
        return Trouble.AWAY
    return Trouble.REFUSED
