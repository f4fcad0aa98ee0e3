"""What the stand-in holds beside what a new OpenNebula has: people, datastores, a host and a network to try things with."""

from __future__ import annotations

from typing import Any

from .oned import Oned

PASSWORD = "opennebula"
"""Of oneadmin and everybody else."""
USERS = {"alice": ["users"], "bob": ["users"], "carol": ["devs"], "dave": ["users", "devs"]}


def furnish(oned: Oned, password: str = PASSWORD) -> None:
    """Group devs; alice, bob (users), carol (devs), dave (both); datastores second (files), dummyds, dummysys; host and network. Once."""
    if oned.store.named("user", "alice"):
        return

    def call(method: str, *given: Any) -> Any:
        good, value, *_ = oned.answer(method, [f"oneadmin:{password}", *given])
        if not good:
            raise RuntimeError(value)
        return value

    groups = {"users": 1, "devs": call("one.group.allocate", "devs")}
    for name, of in USERS.items():
        call("one.user.allocate", name, PASSWORD, "core", [groups[group] for group in of])
    whom = f"{(0x2 << 32) + groups['devs']:x}"
    call("one.acl.addrule", whom, f"{0x1000000000 + 0x8000000000 + 0x20000000000 + (0x4 << 32):x}", "8")
    call("one.datastore.allocate", f'NAME="second"\nDS_MAD=fs\nTM_MAD=shared\nSAFE_DIRS="{oned.safe}"', -1)
    call("one.datastore.allocate", "NAME=dummyds\nDS_MAD=dummy\nTM_MAD=dummy\nTYPE=IMAGE_DS", -1)
    call("one.datastore.allocate", "NAME=dummysys\nTM_MAD=dummy\nTYPE=SYSTEM_DS", -1)
    call("one.host.allocate", "dummyhost", "dummy", "dummy", -1)
    call("one.vn.allocate", 'NAME="private"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="10.0.0.10",SIZE="200"]', -1)
