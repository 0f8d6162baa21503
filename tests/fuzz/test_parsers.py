"""Every parser of what a peer sent eats anything: `targets.py` says what must hold."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_single_bytes_and_beginnings(name: str) -> None:
    target = TARGETS[name]
    target.run(b"")
    for byte in range(256):
        target.run(bytes([byte]))
        target.run(bytes([byte]) * 40)
    for seed in target.seeds:
        for end in range(len(seed) + 1):
            target.run(seed[:end])


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        TARGETS[name].run(data)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_with_a_few_bytes_changed(name: str) -> None:
    chance = random.Random(name)
    for seed in TARGETS[name].seeds:
        for _ in range(300):
            data = bytearray(seed)
            for _ in range(chance.randrange(1, 4)):
                _change(data, chance)
            TARGETS[name].run(bytes(data))


def _change(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    kind = chance.randrange(4)
    if kind == 0:
        data[at:at] = bytes([chance.randrange(256)])
    elif kind == 1:
        del data[at : at + chance.randrange(1, 5)]
    elif kind == 2:
        data[at : at + 1] = bytes([chance.randrange(256)])
    else:
        data[at:at] = data[at : at + 16] * chance.choice([1, 2, 400])
