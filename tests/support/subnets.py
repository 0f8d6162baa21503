"""Addresses for the tests' own boxes."""

import ipaddress
import random
import subprocess


def free_subnet() -> str:
    """A /24 that no interface of this machine is in just now."""
    shown = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True)
    used = [ipaddress.ip_interface(line.split()[3]).network for line in shown.stdout.splitlines()]
    while True:
        text = f"10.{random.randrange(150, 250)}.{random.randrange(256)}.0/24"
        if not any(ipaddress.ip_network(text).overlaps(one) for one in used):
            return text
