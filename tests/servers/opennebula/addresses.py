"""Ranges of IPv4 addresses of virtual networks, and who leases which address."""

from __future__ import annotations

from ipaddress import IPv4Address

from .objects import Network
from .template import whole

Range = dict[str, str]


def sound(given: Range) -> bool:
    """Whether all of a range's addresses are addresses; ranges of other kinds are not looked at."""
    if given.get("TYPE", "").upper() != "IP4":
        return True
    try:
        IPv4Address(int(IPv4Address(given.get("IP", ""))) + whole(given.get("SIZE", "")))
    except ValueError:
        return False
    return whole(given.get("SIZE", "")) > 0


def holds(given: Range, address: str) -> bool:
    if given.get("TYPE", "").upper() != "IP4":
        return False
    return 0 <= int(IPv4Address(address)) - int(IPv4Address(given["IP"])) < whole(given["SIZE"])


def lease(network: Network, machine: int) -> str:
    """An address for a machine; "" where there is none left."""
    for given in network.ranges:
        if given.get("TYPE", "").upper() == "IP4":
            for offset in range(whole(given["SIZE"])):
                address = str(IPv4Address(given["IP"]) + offset)
                if address not in network.leases:
                    network.leases[address] = machine
                    return address
    return ""


def mac_of(address: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
