"""What the recordings show otherwise than as calls: listings by filter and page, states, locks. Each is asked for again and compared."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from support.onerecordings import Exchange, normal
from support.onereplay import Replay
from support.opennebula import PASSWORD


def _ids(replay: Replay, exchange: Exchange, found: re.Match[str], answer: list[Any]) -> Any:
    ids = [one.findtext("ID") for one in ElementTree.fromstring(answer[1])]
    return ids == ast.literal_eval(found["ids"]) or ids


def _filter(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    session = f"oneadmin:{PASSWORD}" if found[1] == "oneadmin" else "bob:bobpw"
    return _ids(replay, exchange, found, replay.pool(int(found[2]), session=session))


def _page(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    return _ids(replay, exchange, found, replay.pool(-2, int(found[1]), int(found[2])))


def _whole(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    return _ids(replay, exchange, found, replay.pool())


def _literal(ask: Callable[[Replay], Any]) -> Callable[[Replay, Exchange, re.Match[str]], Any]:
    def compare(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
        answer = ask(replay)
        return answer == ast.literal_eval(found[1]) or answer

    return compare


def _first(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    text = replay.pool()[1]
    return normal(text).startswith(normal(found[1][: found[1].rfind("<")])) or text


def _not_enough(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    replay.standin.lie("no-space")
    answer = replay.ask(f"oneadmin:{PASSWORD}", "one.image.allocate", 'NAME="m"\nPATH="/var/tmp/z"', 100)
    return answer == ast.literal_eval(found[1]) or answer


def _parallel(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    """The answers of those that lost, the bare one too, and of the one that won."""
    replay.standin.tell(next={"image": 577})
    answers = []
    for lie in (False, False, True):
        if lie:
            replay.standin.lie("bare-error")
        answer = replay.ask(f"oneadmin:{PASSWORD}", "one.image.allocate", 'NAME="same"\nPATH="/var/tmp/z"', 100)
        answers.append(str(answer if answer[0] else answer[:3]))
    replay.standin.settle()
    return sorted(answers) == sorted(set(ast.literal_eval(found[1]))) or answers


def _info(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    """Parts of the newest image."""
    one = replay.there(replay.pool(-2, 0, -2)[1].partition("</IMAGE>")[0])
    shown = "".join(re.findall(r"<TYPE>\d.*?</STATE>", one)[:1]) + " " + one[one.index("<TEMPLATE>") : one.index("</TEMPLATE>")] + "</TEMPLATE>"
    return normal(shown) == normal(found[1]) or normal(shown)


def _errors(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    names = [one.findtext("NAME") for one in ElementTree.fromstring(replay.pool()[1]) if one.findtext("STATE") == "5"]
    return names == ast.literal_eval(found[1]) or names


def _by_name(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    one = replay.named(found[1])
    wanted = ast.literal_eval(found[2])
    if one is None or wanted is None:
        return one is wanted or ElementTree.tostring(one if one is not None else ElementTree.Element("NONE"))
    text = next(part for part in replay.pool()[1].split("<IMAGE>") if f"<NAME>{found[1]}</NAME>" in part)
    return all(part in text for part in wanted) or text


def _unicode(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    text = replay.pool()[1]
    return '<DESCRIPTION><![CDATA[l1\nl2 "q" é <b>&]]></DESCRIPTION><DEV_PREFIX><![CDATA[sd]]></DEV_PREFIX>' in text or text


def _level(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    """An image of alice's that she locks; the driver waits where the recorded one was not done in time."""
    replay.settled()
    replay.image(f"lock-{found[1]}", int(found[2]), "alice:alicepw")
    replay.settle()
    replay.lock_image = int(found[2])
    answer = replay.ask("alice:alicepw", "one.image.lock", replay.lock_image, int(found[1]), False)
    info = replay.admin("one.image.info", replay.lock_image)
    replay.hold(not (replay.modern and found[1] == "2"))
    return (answer == [True, int(found[2]), 0] and found[3] in info) or (answer, info)


def _locked(replay: Replay, exchange: Exchange, found: re.Match[str]) -> Any:
    oid = replay.lock_image
    given: dict[str, tuple[Any, ...]] = {
        "info": (oid,),
        "update": (oid, "A=1", 1),
        "chmod": (oid, *[-1] * 9),
        "rename": (oid, f"renamed-{oid}"),
        "enable": (oid, True),
        "clone": (oid, f"clone-{oid}"),
        "chown": (oid, -1, 100),
        "delete": (oid,),
        "unlock": (oid,),
    }
    if found[2] == "delete":
        replay.settle()
        replay.hold()
    session = "alice:alicepw" if found[1].startswith("alice") else f"oneadmin:{PASSWORD}"
    answer = replay.ask(session, f"one.image.{found[2]}", *given[found[2]])
    wanted = ast.literal_eval(found[3])
    shown = answer[0] if isinstance(wanted, bool) else answer[: len(wanted)]
    return shown == wanted or shown


LINES: list[tuple[str, Callable[[Replay, Exchange, re.Match[str]], Any]]] = [
    (r"(oneadmin|bob) filter (-?\d+) (?P<ids>\[.*\])", _filter),
    (r"all (?P<ids>\[.*\])", _whole),
    (r"start/end \((-?\d+), (-?\d+)\) (?P<ids>\[.*\])", _page),
    (r"filter -5 (\[.*\])", _literal(lambda replay: replay.pool(-5))),
    (r"empty pool (\[.*\])", _literal(lambda replay: replay.pool(1))),
    (r"order/first rec: (.*)", _first),
    (r"(\[False, .*Not enough space in datastore.*\])", _not_enough),
    (r"10 parallel same-name allocate: (.*)", _parallel),
    (r"   info: (.*)", _info),
    (r"   error images: (.*)", _errors),
    (r"   uni -> .*", _unicode),
    (r"   ([a-z0-9 ]+) -> (.*)", _by_name),
    (r"-- level (\d) \w+: \[True, (\d+), 0\] .*match='(.*)'>", _level),
    (r"    (alice\(owner\)|oneadmin) image\.(\w+) (.*)", _locked),
]


def compared(replay: Replay, exchange: Exchange) -> Any:
    """True, or what was answered instead; None for what is no answer of oned."""
    for pattern, compare in LINES:
        if found := re.fullmatch(pattern, exchange.answer, re.DOTALL):
            return compare(replay, exchange, found)
    return None
