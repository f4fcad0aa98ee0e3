"""One reading only: of JSON (R22), of tag objects and repositories (R32), and of what is printed (R29)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from conformance.trust.case import Case
from conformance.trust.forge import Json, World, document, release
from conformance.trust.signers import ISSUED
from conformance.trust.worlds import BASE, V1, V2, V3, W1, Change, accepts, new, refuses, v2

AT = int(ISSUED.timestamp())


def tag(rule: str, name: str, **lie: Any) -> Case:
    """V3 is endorsed by alice herself with a tag of another form; everything else stands."""
    return refuses(name, rule, lambda world: world.endorse("alice", new(world), lie=lie), release=V3, stands=BASE)


def swap(old: bytes, to: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, to, 1)

    return change


def without(field: str) -> Callable[[Json], Json]:
    return lambda said: {**said, "predicate": {name: value for name, value in said["predicate"].items() if name != field}}


def other(**fields: Any) -> Callable[[Json], Json]:
    return lambda said: {**said, "predicate": {**said["predicate"], **fields}}


def spaced(data: bytes) -> bytes:
    return json.dumps(json.loads(data), sort_keys=True, ensure_ascii=False).encode()


def unsorted(data: bytes) -> bytes:
    return json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":"), ensure_ascii=False).encode()


def escaped(data: bytes) -> bytes:
    """A letter written as an escape."""
    return data.replace(b'"action"', b'"\\u0061ction"', 1)


def header(line: bytes) -> Callable[[bytes], bytes]:
    """One more header after the tagger."""
    return lambda data: data.replace(b" +0000\n\n", b" +0000\n" + line + b"\n\n", 1)


BLOCK = b"gpgsig -----BEGIN SSH SIGNATURE-----\n x\n -----END SSH SIGNATURE-----"


def file(path: str, text: str) -> Change:
    """A file below .git."""

    def change(world: World) -> None:
        there = world.repo / ".git" / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text.replace("HEAD", world.head).replace("OLD", world.line[0]))

    return change


def _replaced_commit(world: World) -> None:
    """git alone sees another commit in the place of V2's."""
    mine = world.commit(
        {"appliances/debian-12/release.yaml": document(release("debian-12", "2026.5.2.4", packages=9))}, parents=world.line[2:3], merged=False
    )
    world.ref(f"refs/replace/{v2(world)}", mine)


def _replaced_blob(world: World) -> None:
    blob, mine = world.write("blob", b"one\n"), world.write("blob", b"two\n")
    world.ref(f"refs/replace/{blob}", mine)


def _symbolic(world: World) -> None:
    """A tag that is another name of another tag."""
    new(world)
    path = world.repo / ".git/refs/tags/endorse/debian-12/2026.5.6.7/alice"
    path.mkdir(parents=True)
    (path / "3").write_text("ref: refs/tags/endorse/debian-12/2026.5.2.4/alice/2\n")


def _linked(world: World) -> None:
    """A ref that is a link of the file system."""
    path = world.repo / ".git/refs/tags/endorse/debian-12/2026.5.6.7/alice"
    path.mkdir(parents=True)
    (path / "3").symlink_to(world.repo / ".git/refs/tags/endorse/debian-12/2026.5.2.4/alice/2")


def _alike(world: World) -> None:
    world.ref("refs/heads/Main", world.line[0])


def _alike_tags(world: World) -> None:
    world.ref("refs/tags/Endorse/debian-12/2026.5.1.3/alice/1", world.line[0])


def _packed(world: World) -> None:
    """All refs in the one file that git packs them into."""
    world.git.compress_references()


def _packed_twice(world: World) -> None:
    """One name twice in the file of packed refs, with two objects; which one counts depends on who reads."""
    _packed(world)
    file = world.repo / ".git/packed-refs"
    lines = file.read_text().splitlines()
    first = next(line for line in lines if line.endswith("/alice/1"))
    second = next(line for line in lines if line.endswith("/alice/2"))
    doubled = f"{first[:40]} {second[41:]}"
    file.write_text("\n".join([line for one in lines for line in ([doubled, one] if one == second else [one])]) + "\n")


def _packed_backwards(world: World) -> None:
    """A withdrawal stands out of order under a header that says that packed refs are sorted, so that a search may not find it."""
    world.withdraw("alice", v2(world))
    _packed(world)
    file = world.repo / ".git/packed-refs"
    header, *lines = file.read_text().splitlines()
    (hidden,) = (line for line in lines if "/withdraw/" in line)
    file.write_text("\n".join([header, hidden, *(line for line in lines if line != hidden)]) + "\n")


def _commit_headers(world: World) -> None:
    """Commits may be signed as their authors like; nothing here rests on it."""
    world.commit({"docs/a.md": b"a\n"}, headers=BLOCK + b"\nencoding latin-1\n")


def _alternates(world: World) -> None:
    """Objects that lie in another folder are what their ids say."""
    objects = world.repo / ".git/objects"
    away = world.folder / "objects"
    objects.rename(away)
    (objects / "info").mkdir(parents=True)
    (objects / "pack").mkdir()
    (objects / "info/alternates").write_text(f"{away}\n")


# What is printed

RED, BELL, BIDI, CSI = "\x1b[31mred", "\x07", "\u202e\u2066", "\x9b31m"


def shows(name: str, change: Change, release: str = V3, named: str = "R20", stands: tuple[str, ...] = BASE) -> Case:
    """Somebody's characters are about to be shown, in a refusal."""
    return refuses(name, "R29", change, release=release, stands=stands, named=named)


def _reason(text: str) -> Change:
    return lambda world: world.withdraw("alice", v2(world), reason=f"a hole: {text}")


def _tagger(text: str) -> Change:
    return lambda world: world.endorse("alice", new(world), lie={"tagger": f"{text} <a@example.org> {AT} +0000"})


def _tag_name(text: str) -> Change:
    def change(world: World) -> None:
        world.endorse("alice", new(world), lie={"header": f"endorse/{text}"})

    return change


def _ref_name(text: str) -> Change:
    """Beside it a good tag; git itself would not take such a name."""

    def change(world: World) -> None:
        new(world)
        world.ref(f"refs/tags/endorse/debian-12/2026.5.6.7/{text}/1", world.write("blob", b"x"))

    return change


def _document(text: str) -> Change:
    return lambda world: world.commit({"appliances/alma-9/release.yaml": document({**release("alma-9", "2026.5.3.5"), text: text})})


def _key_of_json(world: World) -> None:
    world.endorse("alice", new(world), lie={"payload": swap(b'"action":', b'"\\u001b[31m' + "\u202e".encode() + b'":1,"action":')})


def _path(text: str) -> Change:
    return lambda world: world.commit({f"endorsers/{text}.yaml": b"x\n"})


CASES: list[Case] = [
    accepts("json-in-its-one-form", "R22", lambda world: world.endorse("alice", new(world))),
    tag("R22", "a-key-twice", payload=swap(b'"rebuilt":false', b'"rebuilt":false,"rebuilt":true')),
    tag("R22", "n-is-1-and-n-is-2", payload=lambda _: b'{"n":1,"n":2}'),
    tag("R22", "a-key-twice-at-the-top", payload=swap(b'"predicateType":', b'"predicateType":"x","predicateType":')),
    tag("R22", "not-a-number", payload=swap(b'"rebuilt":false', b'"rebuilt":NaN')),
    tag("R22", "infinity", payload=swap(b'"serial":3', b'"serial":Infinity')),
    tag("R22", "an-unknown-field", statement_edit=other(also=1)),
    tag("R32", "an-unknown-field-beside-the-predicate", statement_edit=lambda said: {**said, "also": 1}),
    tag("R22", "a-field-less", statement_edit=without("manifest")),
    tag("R22", "an-unknown-predicate-type", statement_edit=lambda said: {**said, "predicateType": "https://vmkeeper.org/endorsement/v2"}),
    tag("R22", "a-number-as-text", statement_edit=other(serial="three")),
    tag("R22", "a-list-instead-of-a-statement", payload=lambda _: b"[]"),
    tag("R22", "no-json", payload=lambda _: b"endorsed!"),
    tag("R22", "nothing", payload=lambda _: b""),
    tag("R22", "a-thousand-lists-in-lists", payload=lambda _: b"[" * 1000 + b"]" * 1000),
    tag("R22", "two-values", payload=lambda data: data + b"{}"),
    tag("R22", "files-that-are-none", statement_edit=other(files=[])),
    # R32: the tag
    accepts("the-one-form-of-a-tag", "R32", lambda world: world.endorse("alice", new(world))),
    tag("R32", "spaces-in-the-json", payload=spaced),
    tag("R32", "keys-in-another-order", payload=unsorted),
    tag("R32", "an-escape-that-is-not-needed", payload=escaped),
    tag("R32", "a-number-with-a-fraction", payload=swap(b'"serial":3', b'"serial":3.0')),
    tag("R32", "a-true-for-a-one", statement_edit=lambda said: other(files=[{**said["predicate"]["files"][0], "size": True}])(said)),
    tag("R32", "another-subject", statement_edit=lambda said: {**said, "subject": said["subject"][:1]}),
    tag("R32", "one-gpgsig-header", body=header(BLOCK)),
    tag("R32", "two-gpgsig-headers", body=header(BLOCK + b"\n" + BLOCK)),
    tag("R32", "a-gpgsig-sha256-header", body=header(BLOCK.replace(b"gpgsig", b"gpgsig-sha256"))),
    tag("R32", "an-encoding-header", body=header(b"encoding UTF-16")),
    tag("R32", "a-second-object-header", body=header(b"object " + b"e" * 40)),
    tag("R32", "a-second-tag-header", body=header(b"tag endorse/debian-12/9/alice/3")),
    tag("R32", "headers-in-another-order", body=lambda data: b"type commit\n" + data.replace(b"\ntype commit\n", b"\n", 1)),
    tag("R32", "no-tagger", body=lambda data: b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"tagger "))),
    tag("R32", "a-tagger-in-another-zone", tagger=f"A <a@example.org> {AT} +0100"),
    tag("R32", "a-tagger-in-a-zone-that-is-none", tagger=f"A <a@example.org> {AT} -0000"),
    tag("R32", "a-tagger-with-a-fraction", tagger=f"A <a@example.org> {AT}.5 +0000"),
    tag("R32", "a-tagger-with-two-addresses", tagger=f"A <a@example.org> <b@example.org> {AT} +0000"),
    tag("R32", "carriage-returns", body=lambda data: data.replace(b"\n", b"\r\n")),
    tag("R32", "a-carriage-return-in-the-message", body=lambda data: data[:-1] + b"\r\n"),
    tag("R32", "a-nul-in-the-message", body=lambda data: data[:-1] + b"\0hidden\n"),
    tag("R32", "a-nul-after-the-signature", raw=lambda raw: raw + b"\0"),
    tag("R32", "a-second-line", body=lambda data: data + b"and more\n"),
    tag("R32", "an-empty-line-before-the-signature", body=lambda data: data + b"\n"),
    tag("R32", "a-line-before-the-json", body=lambda data: data.replace(b"\n\n", b"\n\nhello\n", 1)),
    tag("R32", "bytes-that-are-no-text", body=swap(b"tagger S", b"tagger \xff")),
    tag("R32", "a-larger-object-than-is-read", statement_edit=other(path="x" * 70000)),
    tag("R10", "a-trailing-newline", raw=lambda raw: raw + b"\n"),
    # R32: the repository
    accepts("refs-in-one-file", "R32", _packed),
    accepts("commits-with-headers-of-their-own", "R32", _commit_headers),
    accepts("objects-that-lie-elsewhere", "R32", _alternates),
    refuses("a-replaced-commit", "R32", _replaced_commit),
    refuses("a-replaced-file", "R32", _replaced_blob),
    refuses("a-graft", "R32", file("info/grafts", "HEAD OLD\n")),
    refuses("a-shallow-clone", "R32", file("shallow", "HEAD\n")),
    refuses("a-symbolic-tag", "R32", _symbolic),
    refuses("a-ref-that-is-a-link", "R32", _linked),
    refuses("branches-that-some-systems-take-for-one", "R32", _alike),
    refuses("tags-that-some-systems-take-for-one", "R32", _alike_tags),
    refuses("a-packed-ref-twice", "R32", _packed_twice),
    refuses("packed-refs-out-of-order", "R32", _packed_backwards),
    refuses("refs-in-a-format-that-is-not-read", "R32", file("reftable/tables.list", "")),
    # R29
    accepts("text-as-it-should-be", "R29", lambda world: world.endorse("alice", new(world), lie={"tagger": f"Älïçé 愛 <a@example.org> {AT} +0000"})),
    accepts("characters-in-an-unsigned-file", "R29", lambda world: world.commit({"docs/a.md": f"{RED}{BIDI}\n".encode()})),
    shows("an-escape-in-a-reason", _reason(RED), V2, stands=(V1, W1)),
    shows("a-bell-in-a-reason", _reason(BELL), V2, stands=(V1, W1)),
    shows("a-c1-control-in-a-reason", _reason(CSI), V2, stands=(V1, W1)),
    shows("bidirectional-characters-in-a-reason", _reason(BIDI), V2, stands=(V1, W1)),
    shows("an-escape-in-the-tagger", _tagger(RED), named="R32"),
    shows("bidirectional-characters-in-the-tagger", _tagger(BIDI), named="R32"),
    shows("an-escape-in-a-tag-header", _tag_name(RED), named="R32"),
    shows("bidirectional-characters-in-a-tag-header", _tag_name(BIDI), named="R32"),
    shows("an-escape-in-a-key-of-the-statement", _key_of_json, named="R22"),
    shows("an-escape-in-a-file-name", _path(RED), V2, "R4", ()),
    shows("bidirectional-characters-in-a-file-name", _path(f"a{BIDI}"), V2, "R4", ()),
    shows("an-escape-in-a-ref", _ref_name(RED), V2, "R32", ()),
    shows("bidirectional-characters-in-a-ref", _ref_name(f"a{BIDI}")),
    shows("an-escape-in-a-record", _document(RED), "alma-9 2026.5.3.5", "R21", stands=(V1, V2)),
]
