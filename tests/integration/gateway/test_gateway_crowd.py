"""Fifty callers at once, of every kind: the books balance, everyone gets its own image, and nothing is left open."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

CALLERS = 50
HEARTBEAT = {"first_beat_s": 0.05, "beat_s": 0.05}


def open_files() -> int:
    """Count the descriptors of this process; the database's are left out: its readers are made when first needed."""
    return sum(".sqlite3" not in Path(os.path.realpath(each)).name for each in Path("/proc/self/fd").iterdir())


async def script_by_prompt(asked: Any, reply: Any, drawn: dict[str, bytes], a_png: Any) -> None:
    """Behave as the prompt says; each picture belongs to one prompt."""
    kind, _, number = asked.prompt.split(" ")[0].partition("-")
    await asyncio.sleep(0.02 * (int(number) % 10))
    match kind:
        case "busy":
            await reply.answer({"error": {"message": "busy"}}, status=503)
        case "broken":
            await reply.answer(b"<html>no</html>")
        case "lost":
            reply.reset()
        case _:
            await reply.pictures(drawn.setdefault(asked.prompt, a_png(noise_bytes=200_000)))


async def ask_for(gateway: Any, number: int) -> tuple[str, str, Any]:
    """Be one of many: kind, prompt and answer (None for who left)."""
    kind = ("fine", "busy", "google", "stream", "broken", "leaver", "fine", "lost", "wrong", "stranger")[number % 10]
    prompt = f"{kind}-{number} marker Qx7Zt"
    match kind:
        case "google":
            return kind, prompt, await gateway.gemini(contents=[{"parts": [{"text": prompt}]}])
        case "stream":
            return kind, prompt, await gateway.images(prompt=prompt, stream=True)
        case "wrong":
            return kind, prompt, await gateway.images(prompt=prompt, n=0)
        case "stranger":
            return kind, prompt, await gateway.images(prompt=prompt, headers={"Authorization": "Bearer Qx7Zt"})
        case "leaver":
            wire = await gateway.dial()
            await wire.send(gateway.post({"prompt": prompt}))
            await asyncio.sleep(0.03 * (number % 4))
            wire.leave(reset=number % 20 > 10)
            return kind, prompt, None
        case _:
            return kind, prompt, await gateway.images(prompt=prompt)


async def everything_is_back(tasks: int, files: int) -> None:
    """Wait until no more tasks run and no more descriptors are open than before."""
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > tasks or open_files() > files:
            await asyncio.sleep(0.02)


async def test_fifty_callers_of_every_kind_leave_nothing_behind(start: Any, upstream: Any, a_png: Any) -> None:
    """I4, I11, I17: ledger, images, tasks and descriptors; and the gateway serves as before."""
    gateway = await start(heartbeat=HEARTBEAT, retry={"sends_max": 3, "backoff_s_first": 0.05})
    drawn: dict[str, bytes] = {}

    async def script(asked: Any, reply: Any) -> None:
        await script_by_prompt(asked, reply, drawn, a_png)

    upstream.script = script
    # Once in each way first: readers' connections, worker threads and the caller's pool are made when first needed.
    await asyncio.gather(*(ask_for(gateway, number) for number in range(100, 120)))
    await gateway.idle()
    await gateway.renew_session()
    await asyncio.sleep(0.3)
    tasks, files = len(asyncio.all_tasks()), open_files()
    before = await states(gateway)

    heard = await asyncio.gather(*(ask_for(gateway, number) for number in range(CALLERS)))

    for kind, prompt, answer in heard:
        match kind:
            case "fine":
                assert answer.picture() == drawn[prompt]
            case "google":
                assert answer.picture() == drawn[prompt]
            case "stream":
                ((_, event),) = answer.events()
                assert base64.b64decode(event["b64_json"]) == drawn[prompt]
            case "busy" | "broken" | "lost":
                assert answer.json["error"]["paid"] == {"busy": "no", "broken": "yes", "lost": "unknown"}[kind]
            case "wrong":
                assert answer.status == 400
            case "stranger":
                assert answer.status == 401
    async with asyncio.timeout(5):
        while not repr(gateway.made.engine).startswith("<Engine 0 generations open, 0 tasks"):
            await asyncio.sleep(0.02)
    await gateway.idle()
    await gateway.renew_session()
    await everything_is_back(tasks, files)
    after = await states(gateway)
    kinds = Counter(kind for kind, _, _ in heard)
    assert after["failed"] - before["failed"] == kinds["busy"] + kinds["broken"] + kinds["lost"]
    made = after["succeeded"] - before["succeeded"]
    # Who left before its request had been read asked nothing.
    assert kinds["fine"] + kinds["google"] + kinds["stream"] <= made <= CALLERS - after["failed"]
    assert len(gateway.core.watchers) == 0
    assert (await gateway.images(prompt="fine-1 again")).status == 200


async def states(gateway: Any) -> Counter[str]:
    """Count the generations by state, on the store's own connection: one of ours would be a descriptor more."""
    rows = await gateway.core.store.read(lambda conn: conn.execute("SELECT state FROM generation").fetchall())
    return Counter(row["state"] for row in rows)


async def test_many_held_callers_each_get_their_own_image(start: Any, upstream: Any, a_png: Any) -> None:
    """Held together, woken together: beats and documents of one never reach another."""
    gateway = await start(heartbeat=HEARTBEAT)
    drawn: dict[str, bytes] = {}

    async def script(asked: Any, reply: Any) -> None:
        await reply.pictures(drawn.setdefault(asked.prompt, a_png()))

    upstream.script = script
    upstream.gate.clear()
    prompts = [f"held-{number} marker Qx7Zt" for number in range(CALLERS)]
    wires = [await gateway.dial() for _ in prompts]
    for wire, prompt in zip(wires, prompts, strict=True):
        await wire.send(gateway.post({"prompt": prompt}))
    heads = [await wire.head() for wire in wires]
    for wire in wires:
        await wire.beats(1)
    await upstream.was_asked(CALLERS)
    assert gateway.made.engine.open_generations == CALLERS
    upstream.gate.set()
    for wire, answer, prompt in zip(wires, heads, prompts, strict=True):
        answer.body = await wire.chunks()
        assert answer.picture() == drawn[prompt]
        assert json.loads(answer.body)["generation_id"] == answer.generation_id
    assert len(upstream.asked) == CALLERS
