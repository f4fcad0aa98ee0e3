"""The raw bytes of a signed tag: a parser that takes one form and no other, and the builder of that form.

A tag object has exactly the headers object, type commit, tag, tagger, then one line of JSON, then one signature.
Nothing here says that a signature is good. Form: git's `Documentation/gitformat-signature` and `git mktag`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.armour import LABELS
from vmkeeper.values import CommitId

MAXIMUM = 64 * 1024
"""Bytes; a tag object that is larger is refused unread."""

PGP = "PGP"
SSH = "SSH"
CMS = "CMS"
"""Kinds of signature: OpenPGP's, OpenSSH's, and X.509's as gpgsm writes it."""
_BEGIN = re.compile(rb"^-----BEGIN ", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TAGGER = re.compile(r"([^<>\n]{1,200}) <([^<>\s]{1,200})> ([1-9][0-9]{0,10}) \+0000")
_HEADERS = ("object", "type", "tag", "tagger")


@dataclass(frozen=True, slots=True)
class Tagger:
    """Who made the tag and when, in seconds since 1970; the zone is always +0000."""

    name: str
    email: str
    time: int

    def __str__(self) -> str:
        return f"{self.name} <{self.email}> {self.time} +0000"


@dataclass(frozen=True, slots=True)
class TagObject:
    """A tag object taken apart. `signed` are the bytes a signature covers; `kind` is PGP, SSH or CMS."""

    commit: CommitId
    name: str
    tagger: Tagger
    payload: bytes
    signed: bytes
    kind: str
    signature: str


def unsigned(commit: CommitId, name: str, tagger: Tagger, payload: bytes) -> bytes:
    """The bytes to sign. Raises ValueError where the parts cannot make a tag that `parse` would take."""
    if not _COMMIT.fullmatch(commit) or not _TAGGER.fullmatch(str(tagger)) or not name.isprintable() or b"\n" in payload:
        raise ValueError(f"{name!r} by {str(tagger)!r} does not make a tag object")
    return f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n".encode() + payload + b"\n"


def parse(raw: bytes) -> TagObject:
    """Take a tag object apart. Raises Refused: R7 for what it points to, R10 for the signature block, R32 for the rest."""
    if len(raw) > MAXIMUM:
        raise Refused("R32", "the tag object is too large", why=f"{len(raw)} bytes, at most {MAXIMUM} are read")
    if b"\0" in raw or b"\r" in raw:
        raise Refused("R32", "the tag object holds a NUL or a carriage return", why="programs disagree about where such a message ends")
    head, _, message = raw.partition(b"\n\n")
    values = _headers(_text(head))
    if values["type"] != "commit":
        raise Refused("R7", f"the tag points to a {values['type']}, not to a commit", hint="tag the commit that holds the release record")
    if not _COMMIT.fullmatch(values["object"]):
        raise Refused("R7", "the tag's target is not a commit id", why=values["object"])
    tagger = _TAGGER.fullmatch(values["tagger"])
    if tagger is None or not (values["tag"] + values["tagger"]).isprintable():
        raise Refused(
            "R32", "the tag's name or its tagger line (NAME <EMAIL> SECONDS +0000) has another form", why=f"{values['tag']}, {values['tagger']}"
        )
    payload, kind, signature = _message(message)
    return TagObject(
        commit=values["object"],
        name=values["tag"],
        tagger=Tagger(tagger[1], tagger[2], int(tagger[3])),
        payload=payload,
        signed=raw[: len(raw) - len(signature)],
        kind=kind,
        signature=signature.decode("ascii"),
    )


def _headers(text: str) -> dict[str, str]:
    fields = [line.partition(" ") for line in text.split("\n")]
    if tuple(name for name, _, _ in fields) != _HEADERS or any(not value for _, _, value in fields):
        raise Refused("R32", "the tag has other headers than object, type, tag, tagger", why=" ".join(name for name, _, _ in fields))
    return {name: value for name, _, value in fields}


def _message(message: bytes) -> tuple[bytes, str, bytes]:
    """Payload, kind of signature, signature block."""
    starts = [match.start() for match in _BEGIN.finditer(message)]
    if not starts:
        raise Refused("R10", "the tag carries no signature", hint="endorse with vmkeeper endorse, which signs")
    if len(starts) > 1:
        raise Refused("R10", "the tag carries more than one signature block", why=f"{len(starts)} blocks")
    body, signature = message[: starts[0]], message[starts[0] :]
    for kind in (PGP, SSH, CMS):
        begin, end = (f"-----{word} {LABELS[kind]}-----\n".encode() for word in ("BEGIN", "END"))
        if signature.startswith(begin) and signature.endswith(end) and signature.count(b"-----END ") == 1 and signature.isascii():
            break
    else:
        raise Refused("R10", "the tag does not end in one OpenPGP, SSH or CMS signature block", why=_text(signature.partition(b"\n")[0]))
    if body.count(b"\n") != 1:  # the block begins a line, so it ends the one before
        raise Refused("R32", "the tag's message is not one line of JSON before the signature")
    _text(body)
    return body[:-1], kind, signature


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused("R32", "the tag object is not UTF-8", why=f"byte {error.start}") from None
