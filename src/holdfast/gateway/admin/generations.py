"""`/admin/v1/generations`: all of them, whoever's they are; one's whole story, its images, and its end."""

from __future__ import annotations

from holdfast.clock import rfc3339
from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.admin.framework import AFTER, LIMIT, MOMENT, AdminCall, Parameter, Served, Spec
from holdfast.gateway.admin.shown import generation_of, story_of
from holdfast.gateway.asked import Routes
from holdfast.gateway.generations import Generations
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.policy.compensation import Rules
from holdfast.store.audit_log import note
from holdfast.store.cancelling import CancelDone, ask_cancel
from holdfast.store.erasing import Erased, ask_erase
from holdfast.store.generations import get_generation
from holdfast.store.overview import Shown, WantedOfAll, list_all, show, whole_story
from holdfast.store.port import Conn
from holdfast.wire import admin
from holdfast.wire.generations_query import STATUSES

_NOT_FOUND = "generation_not_found"
_FROM = Parameter(name="since", means="Accepted then or later: a moment, or a day (UTC).", schema=MOMENT)
_UNTIL = Parameter(name="until", means="Accepted before: a moment, or a day (UTC).", schema=MOMENT)
LIST_GENERATIONS = Spec(
    "GET",
    "/admin/v1/generations",
    "listAllGenerations",
    "Generations of all keys, newest first",
    answer=admin.AdminGenerationList,
    parameters=(
        Parameter(name="key_id", means="Only this key's."),
        Parameter(name="model", means="Only those of this model, or of the model with this alias."),
        Parameter(name="status", means="Only those that stand so.", schema={"enum": list(STATUSES)}),
        Parameter(
            name="collected", means="Whether image bytes have reached somebody.", schema={"enum": ["true", "false"]}
        ),
        _FROM,
        _UNTIL,
        AFTER,
        LIMIT,
    ),
    links=("getStory", "lookAtImage", "cancelAnyGeneration", "deleteAnyGeneration"),
)
GET_STORY = Spec(
    "GET",
    "/admin/v1/generations/{id}",
    "getStory",
    "All that is on record of a generation: events, attempts, decisions, images, money",
    answer=admin.AdminStory,
    codes=(_NOT_FOUND,),
)
LOOK_AT_IMAGE = Spec(
    "GET",
    "/admin/v1/generations/{id}/images/{index}",
    "lookAtImage",
    "One of its images; looking collects nothing. Range and ETag are honoured",
    media="image/*",
    codes=(_NOT_FOUND, "image_expired"),
)
CANCEL = Spec(
    "POST",
    "/admin/v1/generations/{id}/cancel",
    "cancelAnyGeneration",
    "End it, or buy nothing more for it where an attempt is in flight; asked twice, it is as asked once",
    answer=admin.AdminGeneration,
    codes=(_NOT_FOUND, "storage_low"),
)
DELETE = Spec(
    "DELETE",
    "/admin/v1/generations/{id}",
    "deleteAnyGeneration",
    "Delete its images and its prompt now; the record and what it cost stay. Asked twice, it is as asked once",
    status=204,
    codes=(_NOT_FOUND, "generation_open", "storage_low"),
)
SPECS = (LIST_GENERATIONS, GET_STORY, LOOK_AT_IMAGE, CANCEL, DELETE)


class GenerationsPage:
    """Serves them."""

    def __init__(self, core: Core, engine: Engine, routes: Routes, generations: Generations) -> None:
        self._core = core
        self._engine = engine
        self._routes = routes
        self._generations = generations

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return (
            LIST_GENERATIONS.by(self._list),
            GET_STORY.by(self._story),
            LOOK_AT_IMAGE.by(self._image),
            CANCEL.by(self._cancel),
            DELETE.by(self._delete),
        )

    async def _list(self, asked: AdminCall) -> admin.AdminGenerationList:
        model = asked.word("model")
        collected = asked.word("collected", ("true", "false"))
        since, until = asked.moment("since"), asked.moment("until")
        wanted = WantedOfAll(
            limit=asked.limit,
            key_id=asked.word("key_id"),
            model=None if model is None else self._routes.model_of(model),
            state=asked.word("status", STATUSES),
            is_collected=None if collected is None else collected == "true",
            since=None if since is None else rfc3339(since),
            until=None if until is None else rfc3339(until),
            after=asked.word("after"),
        )
        page = await asked.read(list_all, wanted)
        if page is None:
            raise RequestError("after names no generation.", param="after")
        return admin.AdminGenerationList(
            data=tuple(map(self._shown, page.shown)), has_more=page.has_more, last_id=page.last_id
        )

    async def _story(self, asked: AdminCall) -> admin.AdminStory:
        whole = await asked.read(whole_story, asked.names["id"])
        if whole is None:
            raise _missing()
        return story_of(whole, self._shown(whole.shown))

    async def _image(self, asked: AdminCall) -> None:
        await self._generations.look(asked.call, asked.names)

    async def _cancel(self, asked: AdminCall) -> admin.AdminGeneration:
        id_, actor = asked.names["id"], asked.actor.id

        def ask(conn: Conn, id_: str, at: str, purge_after: str, rules: Rules) -> CancelDone | None:
            before = get_generation(conn, id_)
            done = ask_cancel(conn, id_, at, purge_after, rules)
            if before is not None and not State(before.state).is_final and not before.cancel_requested:
                details = {"key_id": before.key_id, "state": before.state}
                note(conn, actor=actor, action="generation.cancelled", target=id_, at=at, details=details)
            return done

        try:
            await self._engine.cancel(id_, ask=ask)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=id_, message=str(exc))
            raise storage_low("does not take this request") from exc
        found = await asked.read(show, [id_])
        if not found:
            raise _missing()
        return self._shown(found[0])

    async def _delete(self, asked: AdminCall) -> None:
        actor = asked.actor.id

        def ask(conn: Conn, id_: str, at: str) -> Erased | None:
            erased = ask_erase(conn, id_, at)
            if erased is not None and erased.is_new:
                details = {"key_id": erased.row.key_id, "state": erased.row.state}
                note(conn, actor=actor, action="generation.deleted", target=id_, at=at, details=details)
            return erased

        if await self._generations.erase(asked.names["id"], ask=ask) is None:
            raise _missing()

    def _shown(self, shown: Shown) -> admin.AdminGeneration:
        core = self._core
        in_line = self._engine.in_line(shown.record.generation.id)
        return generation_of(shown, latencies=core.latencies, now=core.clock.now(), in_line=in_line)


def _missing() -> RequestError:
    return RequestError("There is no such generation.", code=_NOT_FOUND, status=404)
