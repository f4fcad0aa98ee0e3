"""What gpg says, taken apart and judged: its status lines for many files of one run, and its listing of one certificate.

Pure. Lines end at LF and nowhere else: gpg escapes LF and CR in what strangers wrote, but not the other characters that
Unicode ends lines at, so a reader that stops at those takes a user id for a verdict. Forms: GnuPG's `doc/DETAILS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.keys.packets import HASHES, SignaturePacket

_PREFIX = b"[GNUPG:] "
_VALIDSIG = re.compile(r"([0-9A-F]{40}) \S+ [0-9]+ \S+ \S+ \S+ [0-9]+ ([0-9]{1,3}) ([0-9A-F]{2}) ([0-9A-F]{40})")
_FAULTS = {"ERROR", "FAILURE", "NODATA", "NO_PUBKEY", "UNEXPECTED"}
_GOOD, _EXPIRED = ["GOODSIG", "NEWSIG", "VALIDSIG"], ["EXPKEYSIG", "NEWSIG", "VALIDSIG"]
_REVOKED = "r"

Answer = tuple[tuple[str, str], ...]
"""gpg's status lines for one file: keyword and the rest of the line."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A signature and the key that it names, as we read their packets ourselves."""

    packet: SignaturePacket
    primary: str
    """Fingerprint of the primary key."""
    material: str
    """Of the (sub)key that signed."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A primary key or subkey as gpg lists it."""

    revoked: bool
    expires: datetime | None


def read_status(said: bytes, files: Sequence[str]) -> list[Answer | None]:
    """The status lines of `gpg --multifile --verify` for each of the files, in their order.

    None for a file that gpg did not come to the end of; None for all of them where the lines are not one block a file.
    """
    answers: list[Answer | None] = []
    open_file: list[tuple[str, str]] | None = None
    for line in said.split(b"\n"):
        keyword, _, rest = line.removeprefix(_PREFIX).decode(errors="backslashreplace").partition(" ")
        if not line.startswith(_PREFIX):
            continue
        if keyword == "FILE_START":
            if open_file is not None or len(answers) == len(files) or rest != f"1 {files[len(answers)]}":
                return [None] * len(files)
            open_file = []
        elif keyword == "FILE_DONE":
            if open_file is None:
                return [None] * len(files)
            answers.append(tuple(open_file))
            open_file = None
        elif open_file is not None:
            open_file.append((keyword, rest))
    return answers + [None] * (len(files) - len(answers))


def read_listing(listing: bytes) -> dict[str, Listed]:
    """Primary key and subkeys by fingerprint, from `gpg --with-colons --list-keys`. Raises Refused (R10) for another form."""
    found: dict[str, Listed] = {}
    last: Listed | None = None
    for line in listing.split(b"\n"):
        fields = line.decode(errors="backslashreplace").split(":")
        if fields[0] in ("pub", "sub"):
            last = _listed(fields)
        elif fields[0] == "fpr" and last is not None and len(fields) > 9:
            found[fields[9]], last = last, None
    return found


def _listed(fields: Sequence[str]) -> Listed:
    try:
        return Listed(fields[1] == _REVOKED, datetime.fromtimestamp(int(fields[6]), UTC) if fields[6] else None)
    except (ValueError, IndexError, OverflowError, OSError):
        raise Refused("R10", "gpg's listing of the key cannot be read", why=":".join(fields)) from None


def judge(answer: Answer, listing: Mapping[str, Listed], ours: Reading, moment: int) -> SignedBy:
    """Who made the signature, where gpg's lines, its listing of the key and our reading of the packets say the same.

    moment: the time that gpg was told, in seconds since 1970. Raises Refused: R10 for a bad signature or another key,
    R11 where gpg reads another kind of signature, R12 for a revoked key. A key that expired is told, not refused: gpg
    calls a key that was revoked as well expired, so it is the listing that says revoked.
    """
    said, packet = dict(answer), ours.packet
    keywords = sorted(keyword for keyword, _ in answer)
    keys = [listing[name] for name in {ours.primary, packet.issuer} & listing.keys()]
    if "REVKEYSIG" in said or "KEYREVOKED" in said or any(key.revoked for key in keys):
        hint = "the owner signs with another key, which the policy or the pins hold"
        raise Refused("R12", "the key has been revoked", why=ours.primary, hint=hint)
    if len(keys) != len({ours.primary, packet.issuer}):
        raise Refused("R10", "gpg does not take the pinned key", why=packet.issuer, hint="export it again; its self-signatures must not be SHA-1")
    verdicts = [keyword for keyword in keywords if keyword.endswith("SIG") or keyword in _FAULTS]
    if verdicts not in (_GOOD, _EXPIRED):
        raise Refused("R10", "gpg does not call the signature good", why=" ".join(verdicts) or "no signature")
    valid = _VALIDSIG.fullmatch(said["VALIDSIG"])
    if valid is None or (valid[1], valid[4]) != (packet.issuer, ours.primary):
        raise Refused("R10", "the signature is by another key than the pinned one", why=said["VALIDSIG"])
    if valid[3] != "00" or HASHES.get(int(valid[2])) != packet.hash:
        raise Refused("R11", "gpg reads another kind of signature than we do", why=f"hash {valid[2]}, class {valid[3]}")
    valid_until = min((key.expires for key in keys if key.expires is not None), default=None)
    if verdicts == _EXPIRED and (valid_until is None or valid_until.timestamp() > moment):
        raise Refused("R10", "gpg calls the key expired and does not list it so", why=packet.issuer)
    return SignedBy(f"openpgp:{ours.primary}", ours.material, datetime.fromtimestamp(packet.created, UTC), valid_until)
