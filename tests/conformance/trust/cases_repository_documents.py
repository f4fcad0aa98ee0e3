"""Documents that principals signed and that have no one reading, or name keys that are not what they seem: R5, R10, R11, R21, R29; and pins."""

from __future__ import annotations

from collections.abc import Callable

from conformance.trust.case import Case
from conformance.trust.forge import World, document, person
from conformance.trust.signers import Signer, openpgp, secret, security_key, ssh_ecdsa
from conformance.trust.worlds import MALLORY, Change, accepts, base, bob, refuses

Edit = Callable[[bytes], bytes]


def signed(change: Change, **files: Edit) -> Change:
    """The base whose policy 1 is another one, signed by the quorum and pinned. files: what becomes of the bytes of a file."""

    def start(world: World) -> None:
        base(world)
        change(world)
        for name, edit in files.items():
            world.key_files[f"{name}.yaml"] = edit(document(world.documents.pop(name)))
        world.policy = (0, None)
        world.drop("policy/1/anna", "policy/1/dora")
        world.propose()
        world.enact("anna", "dora")
        world.pin(2, "anna", "dora", "ben")

    return start


def reads(name: str, edit: Edit, rule: str = "R21") -> Case:
    """The endorser list has another form: the policy as a whole does not count, and so nothing does."""
    return refuses(name, rule, _nothing, start=signed(_nothing, science=edit))


def _nothing(_: World) -> None:
    pass


def swap(old: bytes, to: bytes) -> Edit:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, to, 1)

    return change


def first(edit: bytes) -> Edit:
    return lambda data: edit + data


def bobs_file(edit: Callable[[], bytes]) -> Change:
    """Another key file in the place of bob's."""

    def change(world: World) -> None:
        world.key_files[world.signers["bob"].listed["file"]] = edit()

    return signed(change)


def holds(name: str, edit: Callable[[], bytes], rule: str = "R10") -> Case:
    return refuses(name, rule, _nothing, start=bobs_file(edit))


def lists(name: str, key: Callable[[], dict[str, object]], rule: str = "R10") -> Case:
    """A list names a key in a wrong way."""

    def change(world: World) -> None:
        world.documents["science"]["endorsers"].append({**person("gina", MALLORY), "keys": [key()]})

    return refuses(name, rule, _nothing, start=signed(change))


def _key_of(signer: Signer) -> bytes:
    return next(iter(signer.files.values()))


def mistyped() -> dict[str, object]:
    """One kind of key declared as another one."""
    return {"type": "ssh", "key": "ssh-ed25519 " + ssh_ecdsa("gina").listed["key"].split(" ")[1]}


def pinned(name: str, edit: Callable[[dict[str, object]], object], named: str = "form") -> Case:
    """The pins cannot be pins."""
    return refuses(name, "R1", lambda world: edit(world.pins), release="", named=named)


def _proposed(data: bytes) -> Change:
    """Somebody proposes a list that cannot be read; it is not signed."""
    return lambda world: world.commit({"endorsers/more.yaml": data})


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n"

CASES: list[Case] = [
    accepts("a-policy-in-one-reading", "R21", start=signed(_nothing)),
    accepts("an-unsigned-list-that-cannot-be-read-changes-nothing", "R21", _proposed(b"a: [\n")),
    accepts("an-unsigned-bomb-changes-nothing", "R21", _proposed(BOMB)),
    reads("a-key-twice", swap(b'"community"', b'"community": "arts",\n "community"')),
    reads("anchors-and-aliases", swap(b'"title": "Science"', b'"title": &a "Science"')),
    reads("a-tag", swap(b'"title": "Science"', b'"title": !!str "Science"')),
    reads("a-directive", first(b"%YAML 1.1\n---\n")),
    reads("two-documents-in-one-list", lambda data: data + b"---\n" + data),
    reads("a-merge-key", swap(b'"community"', b'<<: {"quorum": 1},\n "community"')),
    reads("an-alias-bomb", lambda data: data + BOMB),
    reads("more-bytes-than-are-read", lambda data: data + b"#" * 300_000 + b"\n"),
    reads("no-text", lambda data: data + b"\xff\n"),
    reads("no-yaml", lambda _: b"{\n"),
    reads("an-escape-in-a-name", swap(b'"full_name": "Alice"', b'"full_name": "Ali\\u001b[31mce"')),
    reads("bidirectional-characters-in-a-name", swap(b'"full_name": "Alice"', '"full_name": "Ali\u202ece"'.encode())),
    # Keys as documents name them
    holds("a-key-file-with-somebody-else-s-key", lambda: _key_of(openpgp("mallory"))),
    holds("a-key-file-with-two-keys", lambda: _key_of(bob()) + _key_of(openpgp("mallory"))),
    holds("a-key-file-with-a-secret-key", lambda: secret(bob())),
    holds("a-key-file-that-is-empty", lambda: b""),
    holds("a-key-file-of-garbage", lambda: b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"),
    lists("one-kind-of-key-declared-as-another", mistyped),
    lists("a-key-of-no-bytes", lambda: {"type": "ssh", "key": "ssh-ed25519 AAAA"}),
    lists(
        "a-security-key-declared-as-a-plain-one", lambda: {"type": "ssh", "key": "ssh-ed25519 " + security_key("gina").listed["key"].split(" ")[1]}
    ),
    # Pins
    pinned("pins-without-principals", lambda pins: pins.update(principals=[])),
    pinned("pins-with-a-quorum-of-none", lambda pins: pins.update(quorum=0)),
    pinned("pins-with-a-quorum-that-cannot-be-reached", lambda pins: pins.update(quorum=4)),
    pinned("pins-with-one-key-under-two-names", lambda pins: pins["principals"][1].update(keys=pins["principals"][0]["keys"])),  # type: ignore[index]
    pinned("pins-with-an-unknown-field", lambda pins: pins.update(also=1)),
    pinned("pins-of-a-newer-format", lambda pins: pins.update(version=2)),
    pinned("pins-without-a-repository", lambda pins: pins.pop("repository")),
]
