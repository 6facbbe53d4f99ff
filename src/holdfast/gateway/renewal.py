"""Settings read anew while callers are held: SIGHUP, as `systemctl reload` sends it.

The file and the environment are read and checked as at the start, beside callers. What is refused changes nothing, and
is told in one line with the key to blame. Then everything is taken over in one step of the loop, so that no request is
understood by the old routes and sent by the new ones. What differs and is bound to a start stays as it was, and is
named in one warning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.config import Settings, check, upstream_keys
from holdfast.config.renewal import changed_sections, renewed
from holdfast.engine.core import Core
from holdfast.engine.course import Target, targets_of
from holdfast.engine.engine import Engine
from holdfast.engine.renewal import renewed_targets
from holdfast.errors import ConfigError, StorageError
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import OPERATOR
from holdfast.gateway.chats import Chats
from holdfast.gateway.generate import Generator
from holdfast.gateway.passing import PassingOn
from holdfast.log import emit
from holdfast.policy.prices import check_priced
from holdfast.store.audit_log import note
from holdfast.store.port import Conn
from holdfast.transport.through import Through


class Renewal:
    """Takes settings over, once for each time that it is asked to."""

    def __init__(
        self,
        core: Core,
        *,
        engine: Engine,
        routes: Routes,
        generator: Generator,
        chats: Chats,
    ) -> None:
        """Do nothing yet; everything that goes by settings which may change is named here."""
        self._core = core
        self._engine = engine
        self._routes = routes
        self._generator = generator
        self._chats = chats

    async def run(self, asked: asyncio.Event, reread: Callable[[], Settings], environ: Mapping[str, str]) -> None:
        """Read the settings anew whenever it is asked for; until it is cancelled.

        Args:
            asked: Set by whoever asks; asked twice while it is done, it is done once more.
            reread: Reads the settings as the start did, all checks included; in a thread. Raises `ConfigError`.
            environ: Where `env:NAME` credentials are.
        """
        while True:
            await asked.wait()
            asked.clear()
            try:
                # What an earlier process left is routed by the settings that this one was started with.
                await self._engine.recovered()
                await self.once(reread, environ)
            except Exception as exc:  # noqa: BLE001 - the border of a task: what is in force stays, and is told
                emit("fault.internal", level="error", exc=exc)

    async def once(self, reread: Callable[[], Settings], environ: Mapping[str, str]) -> bool:
        """Read the settings anew and take over what can be; False: they were refused, and nothing has changed."""
        try:
            read = await self._core.in_thread(reread)
            keys = await self._core.in_thread(upstream_keys, read, environ)
            changes = self._take_over(read, keys)
        except ConfigError as exc:
            emit("settings.refused", level="error", key=exc.key, message=str(exc))
            return False
        if any(changes.values()):
            await self._note(changes)
        return True

    async def _note(self, changes: Mapping[str, Any]) -> None:
        """Put it into the log of changes; a disk that does not take it changes nothing of what is in force."""
        core = self._core
        at = core.now_text()

        def noted(conn: Conn) -> None:
            note(conn, actor=OPERATOR.id, action="settings.taken_over", target="settings", at=at, details=changes)

        try:
            await core.store.write(noted)
        except StorageError as exc:
            emit("storage.failed", level="error", message=str(exc))

    def _take_over(self, read: Settings, keys: Mapping[str, tuple[str, ...]]) -> Mapping[str, Any]:
        """Take settings over, in one step; whatever may be refused comes first.

        Returns:
            Which sections are others now, and how many upstreams' keys are new, and gone.

        Raises:
            ConfigError: They cannot be served without a restart.
        """
        core, before = self._core, self._core.settings
        settings, waiting = renewed(before, read)
        # Whole for itself, they may contradict what only a restart changes: a route for TLS only, without its listener.
        check(settings)
        check_priced(settings, core.clock.now().date())
        targets = renewed_targets(targets_of(settings, keys), core.targets)
        known = _keys_of(core.targets)
        core.tokens.add((to.upstream, key) for route in targets.values() for to in route for key in to.current)
        # From here on nothing fails.
        self._engine.renew(settings, targets)
        self._routes.renew(settings)
        self._generator.renew(settings)
        self._chats.pass_by(passing_on(core, settings, keys))
        changes: dict[str, Any] = {
            "changed": list(changed_sections(before, settings)),
            "new_keys": len(_keys_of(targets) - known),
            "removed_keys": len(known - _keys_of(targets)),
        }
        emit("settings.taken_over", **changes)
        if waiting:
            emit("settings.need_restart", level="warning", keys=list(waiting))
        return changes


def _keys_of(targets: Mapping[str, tuple[Target, ...]]) -> set[tuple[str, str]]:
    """The keys in use, each with its upstream."""
    return {(to.upstream.name, key) for route in targets.values() for to in route for key in to.current}


def passing_on(core: Core, settings: Settings, keys: Mapping[str, tuple[str, ...]]) -> PassingOn | None:
    """Make what passes models through that are no images; None: there are none."""
    passed = settings.passthrough
    if not passed.models:
        return None
    upstream = settings.upstream(passed.upstream)
    return PassingOn(
        settings=passed,
        upstream=upstream,
        key=keys[upstream.name][0],
        through=Through(ca_file=upstream.ca_file, connect_s=passed.connect_s, silence_s=passed.silence_s),
        spool=core.spool,
        threads=core.threads,
    )
