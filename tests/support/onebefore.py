"""What was done between the recorded calls and not recorded."""

from __future__ import annotations

import re
from collections.abc import Callable

from support.onerecordings import FIXTURES, Exchange
from support.onereplay import Replay


def _figures(replay: Replay, exchange: Exchange) -> None:
    """What the monitor had told of the datastores that are there from the beginning."""
    told = {"total": 258020, "free": 70175, "used": 33724} if replay.modern else {"total": 0, "free": 0, "used": 0}
    for oid in (1, 2):
        replay.standin.tamper("datastore", oid, **told)


def _next(kind: str, old: int, new: int) -> Callable[[Replay, Exchange], None]:
    """The id that comes next, in 6.10 and in 7.4."""

    def prepare(replay: Replay, exchange: Exchange) -> None:
        replay.standin.tell(next={kind: new if replay.modern else old})

    return prepare


def _spare(name: str, oid: int) -> Callable[[Replay, Exchange], None]:
    def prepare(replay: Replay, exchange: Exchange) -> None:
        replay.settled()
        replay.image(name, oid)
        replay.settle()

    return prepare


def _deleted_soon(replay: Replay, exchange: Exchange) -> None:
    """The driver of 6.10 was not yet done, that of 7.4 was."""
    replay.hold(not replay.modern)
    replay.image("todel2", 12)
    replay.settle()


def _slow(replay: Replay, exchange: Exchange) -> None:
    replay.hold()


def _stuck(replay: Replay, exchange: Exchange) -> None:
    if exchange.file == "probe4":
        oid = exchange.given[0]
        replay.image(f"stuck-{oid}", oid)
        replay.settle()
        replay.standin.lie("stuck-delete")
        replay.admin("one.image.delete", oid)
        replay.settle()
        replay.standin.tell(next={"image": 585})


def _documents(replay: Replay, exchange: Exchange) -> None:
    """What OneFlow had put there."""
    text = (FIXTURES / "6.10.0.1" / "probe6.txt").read_text()
    pool = text[text.index("<DOCUMENT_POOL>") :].replace('\\"', '"')
    found = re.findall(r"<NAME>(svc\d)</NAME>.*?<BODY><!\[CDATA\[(.*?)(?:\]\]>|\.\.\.)", pool)
    for oid, (name, body) in enumerate(reversed(found), 1):
        replay.make("one.document.allocate", f"<TEMPLATE><NAME>{name}</NAME><BODY><![CDATA[{body}]]></BODY></TEMPLATE>", 101, oid=oid)


def _same_names(replay: Replay, exchange: Exchange) -> None:
    replay.settled()
    first, second, suffix = (1013, 1014, "65515") if replay.modern else (1211, 1212, "65563")
    replay.image(f"same-{suffix}", first, "alice:alicepw")
    replay.image(f"same-{suffix}", second)


def _private(replay: Replay, exchange: Exchange) -> None:
    """A private image, and templates of bob's and the administrator's that name it."""
    image, template, machine, suffix = (1015, 5, 4, "65515") if replay.modern else (1213, 9, 7, "65563")
    replay.image(f"priv-{suffix}", image)
    replay.settle()
    replay.standin.tell(next={"template": template, "vm": machine})
    size = 'CPU="1"\nMEMORY="64"\n'
    disks = (f'IMAGE_ID="{image}"', f'IMAGE="priv-{suffix}"', f'IMAGE="priv-{suffix}",IMAGE_UNAME="oneadmin"')
    for number, disk in enumerate(disks):
        replay.make("one.template.allocate", f'NAME="b{number}"\n{size}DISK=[{disk}]', session="bob:bobpw")
    replay.make("one.template.allocate", 'NAME="nocpu"\nMEMORY="64"')
    replay.make("one.template.allocate", 'NAME="nomemory"\nCPU="1"')
    replay.make("one.template.allocate", f'NAME="last"\n{size}DISK=[IMAGE_ID="{image}"]')


def _others_use(replay: Replay, exchange: Exchange) -> None:
    replay.admin("one.image.chmod", 1015 if replay.modern else 1213, *[-1] * 6, 1, -1, -1)


PREPARE: dict[tuple[str, str], Callable[[Replay, Exchange], None]] = {
    ("pool", "one.datastorepool.info"): _figures,
    ("instantiate w/o NAME", "one.template.instantiate"): _next("vm", 1, 1),
    ("template delete again", "image"): _spare("todel1", 11),
    ("delete while LOCKED", "one.image.delete"): _deleted_soon,
    ("lock", "one.image.lock"): _spare("todel3", 13),
    ("name reuse right after delete", "one.image.allocate"): _spare("todel4", 14),
    ("alloc fs ds", "one.datastore.allocate"): _next("image", 578, 16),
    ("slow http (server waits 4s per GET)", "one.image.allocate"): _slow,
    ("delete again", "one.image.delete"): _stuck,
    ("documentpool type 101", "one.documentpool.info"): _documents,
    ("chown y->alice", "one.image.chown"): _same_names,
    ("bob uses private image", "one.template.instantiate"): _private,
    ("after other-use", "one.template.instantiate"): _others_use,
}
"""(label, method) → what was done before it and not recorded."""
