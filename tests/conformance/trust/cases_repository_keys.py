"""Signatures: one, by the endorser's own key, within scope (R10), and nothing weak (R11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.trust.case import Case
from conformance.trust.certificates import certificate, issue
from conformance.trust.forge import World, person
from conformance.trust.signers import ISSUED, Signer, openpgp, ready, security_key, ssh, ssh_ecdsa, ssh_rsa
from conformance.trust.worlds import ALICE, ANNA, BASE, MALLORY, V3, Change, accepts, base, bob, new, people, refuses

Key = Signer | Callable[[], Signer]


def listing(signer: Key, **fields: object) -> Change:
    """The base with one more endorser, gina, whom policy 2 lists with this key."""

    def start(world: World) -> None:
        base(world)
        people(world, gina=ready(signer))
        world.documents["science"]["endorsers"].append(person("gina", ready(signer), **fields))
        world.next_policy("anna", "dora")

    return start


def signs(signer: Key | None = None, name: str = "gina", **lie: Any) -> Change:
    """V3 is endorsed by that key in that name."""
    return lambda world: world.endorse(name, new(world), by=ready(signer) if signer else None, lie=dict(lie))


def good(name: str, signer: Key, rule: str = "R11") -> Case:
    return accepts(name, rule, signs(), start=listing(signer))


def bad(name: str, rule: str, signs_with: Key, listed: Key | None = None, **how: Any) -> Case:
    """A key is listed, perhaps in another form, and signs badly; the others' releases stand."""
    return refuses(name, rule, signs(signs_with, **how), start=listing(listed or signs_with), release=V3, stands=BASE)


def by_alice(name: str, rule: str, **lie: Any) -> Case:
    return refuses(name, rule, signs(name="alice", **lie), release=V3, stands=BASE)


def _stuffed(by: Key) -> Change:
    """A second block by somebody else after a good one."""

    def change(world: World) -> None:
        lie = {"raw": lambda raw: raw + ready(by).sign(raw, ISSUED).encode()}
        world.endorse("alice", new(world), lie=lie)

    return change


def _before(by: Signer) -> Change:
    """A block by somebody else before the good one."""

    def change(world: World) -> None:
        world.endorse("alice", new(world), lie={"body": lambda data: data + by.sign(data, ISSUED).encode()})

    return change


def _over_another(world: World) -> None:
    """The block of another tag of alice's."""
    old = world.raw["endorse/debian-12/2026.5.2.4/alice/2"]
    world.endorse("alice", new(world), lie={"signature": lambda _: old[old.index(b"-----BEGIN") :].decode()})


def _flipped(world: World) -> None:
    world.endorse("alice", new(world), lie={"raw": lambda raw: raw.replace(b'"rebuilt":false', b'"rebuilt":true ', 1)})


def _look_alike(world: World) -> None:
    """A key with bob's very user id, and not his."""
    people(world, gina=bob())
    world.endorse("bob", new(world), by=openpgp("bob", "--digest-algo", "SHA256", expires="1000d"))


def _named_key(name: str, signer: Key) -> Change:
    """The statement names one key, another one signs."""
    return lambda world: world.endorse(name, new(world), by=ready(signer), key=world.signers[name].id)


def scope(**fields: object) -> Change:
    return listing(ssh("gina"), scope=fields)


def grid(name: str = "Gina", *, authority: str = "Authority", **how: Any) -> Callable[[], Signer]:
    """A certificate of gina's. how: for the certificate, and for the key and its signatures."""
    of_certificate: dict[str, Any] = {field: how.pop(field) for field in ("bits", "days", "key") if field in how}
    if how.pop("sha1", False):
        of_certificate["digest"] = "sha1"
    return lambda: certificate(issue(name, issue(authority), **of_certificate), issue(authority), **how)


RENEWED = grid(key="Gina renewed", days=800)

CASES: list[Case] = [
    good("ssh-ed25519", ssh("gina"), "R10"),
    good("ssh-ecdsa", lambda: ssh_ecdsa("gina"), "R10"),
    good("a-security-key", security_key("gina"), "R10"),
    good("openpgp", lambda: openpgp("gina"), "R10"),
    good("an-openpgp-subkey", lambda: openpgp("gina", subkey="ed25519"), "R10"),
    good("a-certificate", grid(), "R10"),
    good("a-pinned-certificate", grid(pinned=True), "R10"),
    accepts("a-renewed-certificate-with-the-same-names", "R10", signs(RENEWED), start=listing(grid())),
    accepts("within-its-scope", "R10", signs(), start=scope(appliances=["debian-*"], communities=["science"])),
    refuses("outside-its-appliances", "R10", signs(), start=scope(appliances=["alma-*"]), release=V3, stands=BASE),
    refuses("outside-its-communities", "R10", signs(), start=scope(communities=["physics"]), release=V3, stands=BASE),
    refuses("a-second-signature-appended", "R10", _stuffed(MALLORY), release=V3, stands=BASE),
    refuses("a-second-signature-of-another-kind-appended", "R10", _stuffed(lambda: openpgp("mallory")), release=V3, stands=BASE),
    refuses("the-same-signature-twice", "R10", _stuffed(ALICE), release=V3, stands=BASE),
    refuses("a-signature-before-the-signature", "R10", _before(MALLORY), release=V3, stands=BASE),
    refuses("a-look-alike-user-id", "R10", _look_alike, release=V3, stands=BASE),
    refuses("a-stranger-s-key", "R10", signs(MALLORY, "alice"), release=V3, stands=BASE),
    refuses("another-endorser-s-key", "R10", signs(lambda: ssh_ecdsa("erin"), "alice"), release=V3, stands=BASE),
    refuses("a-principal-s-key", "R10", signs(ANNA, "alice"), release=V3, stands=BASE),
    refuses("a-principal-is-no-endorser", "R10", signs(ANNA, "anna"), release=V3, stands=BASE),
    refuses("nobody-knows-the-endorser", "R10", signs(MALLORY, "mallory"), release=V3, stands=BASE),
    refuses("a-stranger-s-key-in-alice-s-name", "R10", _named_key("alice", MALLORY), release=V3, stands=BASE),
    refuses("alice-s-key-in-erin-s-name", "R10", _named_key("erin", ALICE), release=V3, stands=BASE),
    refuses("the-statement-names-another-key", "R10", lambda world: world.endorse("alice", new(world), key=MALLORY.id), release=V3, stands=BASE),
    refuses("the-signature-of-another-tag", "R10", _over_another, release=V3, stands=BASE),
    refuses("the-payload-changed-after-signing", "R10", _flipped, release=V3, stands=BASE),
    by_alice("no-signature", "R10", signature=lambda _: ""),
    by_alice("half-a-signature", "R10", signature=lambda text: text[: len(text) // 2]),
    by_alice("an-empty-block", "R10", signature=lambda _: "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"),
    by_alice("a-block-with-another-label", "R10", signature=lambda text: text.replace("SSH SIGNATURE", "PGP SIGNATURE")),
    by_alice("a-comment-in-the-armour", "R10", signature=lambda text: text.replace("-----\n", "-----\nComment: x\n", 1)),
    by_alice(
        "armour-with-longer-lines",
        "R10",
        signature=lambda text: (
            text.replace("\n", "").replace("-----BEGIN SSH SIGNATURE-----", "-----BEGIN SSH SIGNATURE-----\n").replace("-----END", "\n-----END")
            + "\n"
        ),
    ),
    by_alice("text-after-the-signature", "R10", raw=lambda raw: raw + b"and more\n"),
    bad("ssh-for-another-namespace", "R10", ssh("gina", b"file")),
    bad("ssh-for-an-empty-namespace", "R10", ssh("gina", b"")),
    bad("a-security-key-taken-for-a-plain-one", "R10", security_key("gina", as_plain=True), security_key("gina")),
    bad("a-plain-key-taken-for-a-security-key", "R10", security_key("gina"), ssh("gina")),
    bad("a-security-key-that-nobody-touched", "R10", security_key("gina", 0)),
    bad("openpgp-where-ssh-is-listed", "R10", lambda: openpgp("gina"), ssh("gina")),
    bad("another-certificate-than-the-pinned-one", "R10", RENEWED, grid(pinned=True)),
    bad("the-same-name-by-another-authority", "R10", grid(authority="Other Authority"), grid()),
    bad("cms-without-signed-attributes", "R10", grid(attributes=False)),
    bad("cms-with-two-signers", "R10", grid(signers=2)),
    # R11
    good("ssh-rsa-with-sha-512", lambda: ssh_rsa("gina")),
    good("ssh-with-sha-256", ssh("gina", digest="sha256")),
    good("openpgp-rsa-2048-with-sha-256", lambda: openpgp("gina", "--digest-algo", "SHA256", algorithm="rsa2048")),
    good("a-certificate-with-sha-256", grid(digest="sha256")),
    bad("openpgp-with-sha-1", "R11", lambda: openpgp("gina", "--digest-algo", "SHA1", "--allow-weak-digest-algos", algorithm="rsa2048")),
    bad("openpgp-in-text-mode", "R11", lambda: openpgp("gina", "--digest-algo", "SHA512", "--textmode")),
    bad("openpgp-rsa-1024", "R11", lambda: openpgp("gina", algorithm="rsa1024")),
    bad("an-openpgp-subkey-of-rsa-1024", "R11", lambda: openpgp("gina", subkey="rsa1024")),
    bad("ssh-rsa-with-sha-1", "R11", lambda: ssh_rsa("gina", algorithm="ssh-rsa"), lambda: ssh_rsa("gina")),
    bad("ssh-rsa-1024", "R11", lambda: ssh_rsa("gina", 1024)),
    bad("a-certificate-of-rsa-1024", "R11", grid(bits=1024, key="weak")),
    bad("cms-with-sha-1", "R11", grid(digest="sha1")),
    bad("a-certificate-signed-with-sha-1", "R11", grid(sha1=True)),
]
