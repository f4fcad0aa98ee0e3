"""Signatures over feeds: who makes them, and whether those that are published are still good for what is published."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.errors import Refused
from vmkeeper.execute.listkey import ListKey, check_signature
from vmkeeper.images.targets import Target
from vmkeeper.lists.feeds import Feed
from vmkeeper.lists.mime import split
from vmkeeper.lists.smime import canonical
from vmkeeper.plan.publication import PublishedFeed
from vmkeeper.plan.publication_actions import Signature
from vmkeeper.run import program, run
from vmkeeper.trust.keys import openpgp

_LIMIT = 64 << 20
_SLACK = 1 << 20


@dataclass(frozen=True, slots=True)
class Hands:
    """Who signs a publication: the list's key, and an OpenPGP key of the user's gpg by its fingerprint, where there is one."""

    key: ListKey
    openpgp: str | None = None

    def sign(self, kind: Signature, text: str, now: datetime) -> bytes:
        """A signature of one kind over a text. Raises UserError, ProgramFailed, Refused."""
        match kind:
            case "smime":
                return self.key.message(text, now)
            case "cms":
                return self.key.detached(text.encode(), now)
        assert self.openpgp is not None
        return openpgp.sign(self.openpgp, text.encode()).encode() if kind == "openpgp-detached" else _clear(self.openpgp, text)

    def good(self, kind: Signature, signature: bytes, text: str, now: datetime) -> bool:
        """Whether a signature is ours, over this text, and still good."""
        try:
            match kind:
                case "smime":
                    parts = split(signature, begins=b"")
                    check_signature(parts.signature, parts.content, self.key.certified, now)
                    return parts.content == canonical(text)
                case "cms":
                    check_signature(signature, text.encode(), self.key.certified, now)
                    return True
        except Refused:
            return False
        return self.openpgp is not None and _gpg_agrees(kind, signature, text, self.openpgp)


def openpgp_key(name: str | None) -> str | None:
    """The fingerprint of the OpenPGP key to sign feeds with; None where none is named. Raises UserError where gpg has no such key."""
    return openpgp.primary_fingerprint(name) if name else None


def observe_feeds(target: Target, feeds: Iterable[Feed], hands: Hands, now: datetime) -> dict[str, PublishedFeed]:
    """What a target has of each feed, by path."""
    return {feed.path: _observed(target, feed, hands, now) for feed in feeds}


def _observed(target: Target, feed: Feed, hands: Hands, now: datetime) -> PublishedFeed:
    same = target.read(feed.path, len(feed.content) + 1) == feed.content
    there = {kind: found for kind in feed.signatures if (found := target.read(feed.signature_path(kind), _LIMIT)) is not None}
    good = [kind for kind, found in there.items() if same and hands.good(kind, found, feed.to_sign(kind).decode(), now)]
    return PublishedFeed(same, frozenset(there), frozenset(good))


def _clear(key: str, text: str) -> bytes:
    """Signed in clear text (RFC 9580, 7), by the user's gpg."""
    command = [program("gpg", package="gnupg"), "--batch", "--no-comments", "--no-emit-version", "--digest-algo", "SHA512"]
    return run(
        [*command, "--clear-sign", "--local-user", key], stdin=text.encode(), hint="check that gpg can sign: echo test | gpg --clear-sign"
    ).stdout


def _gpg_agrees(kind: Signature, signature: bytes, text: str, key: str) -> bool:
    """What the user's gpg says: a good signature by this key that has not expired, over this text."""
    with tempfile.TemporaryDirectory(prefix="vmk-") as folder:
        file, content = Path(folder) / "signature", Path(folder) / "content"
        file.write_bytes(signature)
        words: list[str | Path] = [program("gpg", package="gnupg"), "--batch", "--status-fd", "2", "--output", content]
        if kind == "openpgp-detached":
            content.write_text(text)
            words = [*words[:-2], "--verify", file, content]
        else:
            words += ["--decrypt", file]
        done = run(words, check=False)
        said = [line.split() for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("[GNUPG:] ")]
        ours = any(line[1] == "VALIDSIG" and line[-1] == key for line in said) and any(line[1] == "GOODSIG" for line in said)
        return done.status == 0 and ours and content.is_file() and content.read_text().rstrip("\n") == text.rstrip("\n")
