"""Documents: YAML and JSON with one reading, plain names, plain files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conformance.trust.case import Case

SITE = """platform: {type: local}
subscribe:
  - list: science
approve:
  - appliance: "*"
"""
CONTEXT = """title: A worker
cloud_init:
  runcmd:
    - [echo, hello]
"""


def of(text: str | bytes, name: str = "x.yaml", *more: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return ["verify", "document", *more, "--", name]

    return write


def json(text: str | bytes) -> Callable[[Path], list[str]]:
    return of(text, "x.json")


def context(text: str, name: str = "worker.yaml") -> Callable[[Path], list[str]]:
    return of(text, name, "--kind", "context")


def linked(folder: Path) -> list[str]:
    (folder / "real.yaml").write_text(CONTEXT)
    (folder / "worker.yaml").symlink_to("real.yaml")
    return ["verify", "document", "worker.yaml", "--kind", "context"]


def laughs() -> str:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines) + "\n"


def nested(depth: int) -> str:
    return "a: " + "[" * depth + "]" * depth + "\n"


CASES = [
    # YAML with one reading
    Case("plain", "R21", "accept", of("a: [1, yes, {b: 0777}]\nc: |\n  text\n")),
    Case("largest", "R21", "accept", of("a: " + "x" * (256 * 1024 - 4) + "\n")),
    Case("deep-enough", "R21", "accept", of(nested(39))),
    Case("quoted-stars", "R21", "accept", of("a: '*x'\nb: \"&y\"\nc: '!z'\n")),
    Case("too-large", "R21", "refuse", of("a: " + "x" * (256 * 1024) + "\n")),
    Case("too-deep", "R21", "refuse", of(nested(41))),
    Case("very-deep", "R21", "refuse", of(nested(100_000))),
    Case("deep-maps", "R21", "refuse", of("".join(" " * n + f"k{n}:\n" for n in range(60)))),
    Case("anchor", "R21", "refuse", of("a: &x 1\n")),
    Case("alias", "R21", "refuse", of("a: &x 1\nb: *x\n")),
    Case("laughs", "R21", "refuse", of(laughs())),
    Case("merge-key", "R21", "refuse", of("a: {b: 1}\nc:\n  <<: {b: 1}\n")),
    Case("directive", "R21", "refuse", of("%YAML 1.1\n---\na: yes\n")),
    Case("tag-directive", "R21", "refuse", of("%TAG ! tag:x,2000:\n---\na: b\n")),
    Case("tag", "R21", "refuse", of("a: !!binary aGVsbG8=\n")),
    Case("python-tag", "R21", "refuse", of("a: !!python/object/apply:os.system [id]\n")),
    Case("key-twice", "R21", "refuse", of("a: 1\nb: 2\na: 3\n")),
    Case("key-twice-quoted", "R21", "refuse", of('a: 1\n"a": 2\n')),
    Case("key-twice-escaped", "R21", "refuse", of('a: 1\n"\\x61": 2\n')),
    Case("key-that-is-no-text", "R21", "refuse", of("[a, b]: 1\n")),
    Case("two-documents", "R21", "refuse", of("a: 1\n---\na: 2\n")),
    Case("empty", "R21", "refuse", of("")),
    Case("only-a-comment", "R21", "refuse", of("# nothing\n")),
    Case("not-utf-8", "R21", "refuse", of(b"a: \xff\xfe\n")),
    Case("utf-16", "R21", "refuse", of("a: 1\n".encode("utf-16"))),
    Case("byte-order-mark", "R21", "refuse", of(b"\xef\xbb\xbfa: 1\n")),
    Case("control-character", "R21", "refuse", of("a: x\x1b[31my\n")),
    Case("escaped-control-character", "R21", "refuse", of('a: "\\e[31m"\n')),
    Case("bidirectional", "R21", "refuse", of("a: x\u202ey\n")),
    Case("escaped-bidirectional", "R21", "refuse", of('a: "\\u202e"\n')),
    Case("bidirectional-key", "R21", "refuse", of("\u2066a: 1\n")),
    Case("line-separator", "R21", "refuse", of("a: 1\u2028b: 2\n")),
    Case("lone-carriage-return", "R21", "refuse", of("a: 1\rb: 2\n")),
    Case("left-over-of-a-merge", "R21", "refuse", of("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n")),
    Case("many-values", "R21", "refuse", of("a: [" + "1," * 50_000 + "]\n")),
    Case("not-yaml", "R21", "refuse", of("a: [1\nb: }\n")),
    Case("nul", "R21", "refuse", of(b"a: \0\n")),
    # JSON with one reading
    Case("json", "R22", "accept", json('{"n": 1, "m": [true, null, 1.5, "\\u00e9"]}')),
    Case("same-key-in-two-objects", "R22", "accept", json('[{"n": 1}, {"n": 2}]')),
    Case("key-twice", "R22", "refuse", json('{"n":1,"n":2}')),
    Case("key-twice-inside", "R22", "refuse", json('{"a":[{"n":1,"n":2}]}')),
    Case("key-twice-escaped", "R22", "refuse", json('{"n":1,"\\u006e":2}')),
    Case("nan", "R22", "refuse", json('{"n":NaN}')),
    Case("json-infinity", "R22", "refuse", json("[Infinity]")),
    Case("minus-infinity", "R22", "refuse", json("[-Infinity]")),
    Case("larger-than-a-double", "R22", "refuse", json("[1e999]")),
    Case("more-than-64-bits", "R22", "refuse", json("[18446744073709551616]")),
    Case("million-digits", "R22", "refuse", json("[" + "9" * 200_000 + "]")),
    Case("half-a-character", "R22", "refuse", json('["\\ud800"]')),
    Case("json-byte-order-mark", "R22", "refuse", json(b'\xef\xbb\xbf{"n":1}')),
    Case("json-not-utf-8", "R22", "refuse", json(b'["\xff"]')),
    Case("json-too-deep", "R22", "refuse", json("[" * 100_000 + "]" * 100_000)),
    Case("json-too-large", "R22", "refuse", json('"' + "x" * (256 * 1024) + '"')),
    Case("trailing-comma", "R22", "refuse", json("[1,]")),
    Case("single-quotes", "R22", "refuse", json("{'n': 1}")),
    Case("comment", "R22", "refuse", json("[1] // one")),
    Case("json-two-values", "R22", "refuse", json("1 2")),
    Case("empty-json", "R22", "refuse", json("")),
    # names and files
    Case("plain-name", "R23", "accept", context(CONTEXT)),
    Case("name-with-dots", "R23", "accept", context(CONTEXT, "worker-1.2_x.yaml")),
    Case("document-name-like-an-option", "R23", "refuse", context(CONTEXT, "-rf.yaml")),
    Case("name-in-capitals", "R23", "refuse", context(CONTEXT, "Worker.yaml")),
    Case("name-with-two-dots", "R23", "refuse", context(CONTEXT, "a..b.yaml")),
    Case("name-with-a-hidden-character", "R23", "refuse", context(CONTEXT, "work\u200ber.yaml")),
    Case("document-name-with-an-escape", "R23", "refuse", context(CONTEXT, "\x1b[31m.yaml")),
    Case("name-with-a-space", "R23", "refuse", context(CONTEXT, "a worker.yaml")),
    Case("very-long-name", "R23", "refuse", context(CONTEXT, "w" * 80 + ".yaml")),
    Case("link", "R23", "refuse", linked),
    Case("device", "R23", "refuse", lambda _: ["verify", "document", "/dev/zero"]),
    Case("folder", "R23", "refuse", lambda _: ["verify", "document", "."]),
    # what a kind says
    Case("context", "form", "accept", context(CONTEXT)),
    Case("unknown-key", "form", "refuse", context(CONTEXT + "abstrakt: true\n")),
    Case("text-for-a-boolean", "form", "refuse", context(CONTEXT + "abstract: yes\n")),
    Case("a-list-for-a-map", "form", "refuse", context("- a\n")),
    Case("not-there", "input", "refuse", lambda _: ["verify", "document", "gone.yaml"]),
    # shown without harm
    Case("escapes-in-a-message", "form", "refuse", context(CONTEXT + '"x\u00a0y": 1\n')),
]
