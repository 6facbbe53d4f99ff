"""`holdfast simulate`: upstreams that look real, cost nothing, and misbehave on demand."""

from __future__ import annotations

import argparse
import asyncio
import json

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.loop import interrupted
from holdfast.cli.ports import port_number, port_refused

HOST = "127.0.0.1"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("simulate", help="run simulated upstreams of every provider")
    parser.add_argument("--port", type=port_number, default=16900, help="16900; 0 takes a free one")
    parser.add_argument("--speed", type=float, default=1.0, help="divides every latency; 8: 120 s become 15 s")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same latencies and faults")
    parser.add_argument(
        "--scenario", default="steady", help="a name that is shipped, such as overloaded or cuts, or a TOML file"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not args.speed > 0:
        raise Stop(Exit.USAGE, f"--speed must be more than 0, not {args.speed:g}.")
    asyncio.run(_serve(args))
    return Exit.OK


async def _serve(args: argparse.Namespace) -> None:
    from holdfast.cli.stage import simulator_class

    simulator = simulator_class()(speed=args.speed, seed=args.seed, scenario=args.scenario)
    try:
        port = await simulator.start(HOST, args.port)
    except OSError as error:
        raise port_refused(error, HOST, args.port, chosen_by="--port") from error
    try:
        print(_announcement(port, args), flush=True)
        await interrupted()
    finally:
        await simulator.close()


def _announcement(port: int, args: argparse.Namespace) -> str:
    base_url = f"http://{HOST}:{port}"
    if args.json:
        known = {"base_url": base_url, "speed": args.speed, "seed": args.seed, "scenario": args.scenario}
        return json.dumps(known)
    return (
        f"Simulated upstreams on {base_url}, speed {args.speed:g}, seed {args.seed}, scenario {args.scenario}.\n"
        f"  base_url = {base_url} for gemini, vertex, fal and replicate; any key is taken\n"
        f"  base_url = {base_url}/v1 for openai; {base_url}/api/v3 for ark\n"
        f"  what was charged: curl -s {base_url}/_sim/charges"
    )
