"""The ports a box listens on, from proc(5)."""

from in_box_agent.services.events import Port, parse_ports

TABLES = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000
   1: 00000000:1092 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000
  sl  local_address rem_address   st tx_queue
   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000
   1: 00000000000000000000000000000000:1538 00000000000000000000000000000000:0000 0A 00000000
   2: 00000000000000000000000000000000:1F40 00000000000000000000000000000000:0000 0A 00000000
"""


def test_listening_ports_without_our_own() -> None:
    assert parse_ports(TABLES, frozenset({4242})) == (
        Port(3000, loopback=True),
        Port(5432, loopback=False),
        Port(8000, loopback=False),
    )


def test_nonsense_is_no_port() -> None:
    assert parse_ports("sl local\n a b c\n", frozenset()) == ()
