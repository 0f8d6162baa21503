"""The packet filter as text."""

import shutil
import subprocess
from ipaddress import IPv4Network

import pytest

from controller.embedded.rules import METADATA, Neighbour, Net, ruleset

NET = Net(subnet=IPv4Network("10.1.0.0/24"), bridge="dvt0", gateway_port=7080, registry_port=7081)
BOXES = {
    "10.1.0.2": Neighbour("team-a", "db"),
    "10.1.0.3": Neighbour("team-a", "web"),
    "10.1.0.4": Neighbour("team", "a-db"),
}


def test_every_box_jumps_to_its_namespace() -> None:
    text = ruleset(NET, BOXES)
    assert "10.1.0.2 : jump ns_team_a_0, 10.1.0.3 : jump ns_team_a_0, 10.1.0.4 : jump" in text
    assert "ip daddr { 10.1.0.2, 10.1.0.3 } accept; drop;" in text


def test_an_empty_network_has_a_filter_too() -> None:
    text = ruleset(NET, {})
    assert "elements" not in text
    assert "ip daddr 10.1.0.0/24 drop" in text


@pytest.mark.parametrize("address", METADATA)
def test_boxes_do_not_reach_the_clouds_metadata(address: str) -> None:
    rule = next(line for line in ruleset(NET, BOXES).splitlines() if address in line)
    assert rule.strip().startswith("ip saddr 10.1.0.0/24 ip daddr {")
    assert rule.endswith("drop")


@pytest.mark.root
@pytest.mark.parametrize("boxes", [{}, BOXES], ids=["empty", "three"])
def test_nft_takes_it(boxes: dict[str, Neighbour]) -> None:
    if not shutil.which("nft"):
        pytest.skip("needs nft")
    checked = subprocess.run(
        ["nft", "--check", "-f", "-"], input=ruleset(NET, boxes), text=True, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr
