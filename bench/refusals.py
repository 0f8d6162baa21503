"""How long a wrong token waits for its no: for a project that exists, and for one that does not.

`python -m bench.refusals` prints both medians, their ratio and the chance that so large a
difference comes from noise (a permutation test). A small chance would mean that times tell what
exists.
"""

import asyncio
import random
import statistics
import time

import structlog

from gateway.server import Bounds
from tests.support.gateway import House, house

_ROUNDS = 2000
_SHUFFLES = 500


async def _refusal_s(open_house: House, project: str) -> float:
    began = time.perf_counter()
    client = await open_house.dial(f"/home/here/team/{project}/{'0' * 32}")
    status, _, _ = await client.refusal()
    assert status == 401
    return time.perf_counter() - began


async def _measure() -> tuple[list[float], list[float]]:
    known: list[float] = []
    unknown: list[float] = []
    async with house(bounds=Bounds(failures_per_minute=10**9)) as open_house:
        await open_house.project()
        for _ in range(_ROUNDS):
            known.append(await _refusal_s(open_house, "hello"))
            unknown.append(await _refusal_s(open_house, "nobod"))
    return known, unknown


def _chance(one: list[float], other: list[float]) -> float:
    seen = abs(statistics.median(one) - statistics.median(other))
    both, larger = one + other, 0
    for _ in range(_SHUFFLES):
        random.shuffle(both)
        half = len(both) // 2
        gap = abs(statistics.median(both[:half]) - statistics.median(both[half:]))
        larger += gap >= seen
    return larger / _SHUFFLES


def main() -> None:
    """Measure and print."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    known, unknown = asyncio.run(_measure())
    one, other = statistics.median(known), statistics.median(unknown)
    print(f"wrong token, project exists:  {one * 1e3:.3f} ms (median of {_ROUNDS})")
    print(f"wrong token, no such project: {other * 1e3:.3f} ms")
    print(f"ratio {one / other:.3f}; chance of this by noise alone {_chance(known, unknown):.2f}")


if __name__ == "__main__":
    main()
