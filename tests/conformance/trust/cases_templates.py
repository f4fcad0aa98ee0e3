"""What is rendered: contexts and templates that stay small, end soon and see plain values only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conformance.trust.case import Case


def template(text: str | bytes, *given: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "template").write_bytes(text.encode() if isinstance(text, str) else text)
        return ["verify", "template", "template", *(word for one in given for word in ("--with", one))]

    return write


def context(text: str, *given: str, **others: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        for name, body in {"worker": text, **others}.items():
            (folder / f"{name}.yaml").write_text(body)
        return ["verify", "context", "worker.yaml", *(word for one in given for word in ("--with", one))]

    return write


GREETING = (
    "parameters: {who: {default: world}, count: {type: integer, default: 1}}\ncloud_init: {runcmd: [[echo, 'hello ${param.who} ${param.count}']]}\n"
)


def doubling() -> str:
    """Each parameter is the one before twice."""
    lines = "".join(f"  p{n}: {{default: '{f'${{param.p{n - 1}}}' * 2}'}}\n" for n in range(1, 40))
    return f"parameters:\n  p0: {{default: lol}}\n{lines}cloud_init: {{x: '${{param.p39}}'}}\n"


def large_values() -> str:
    return f"parameters: {{p: {{default: '{'x' * 100_000}'}}}}\ncloud_init: {{x: '{'${param.p}' * 1000}'}}\n"


def many_references() -> str:
    return "parameters: {p: {default: ''}}\ncloud_init: {x: '" + "${param.p}" * 20_000 + "'}\n"


def large_list() -> str:
    items = ", ".join(["x"] * 10_000)
    return f"parameters: {{p: {{type: list, default: [{items}]}}}}\ncloud_init: {{x: [{', '.join(['${param.p}'] * 500)}]}}\n".replace(
        "${param.p}", "'${param.p}'"
    )


ACCEPTED = {
    "values": ("hello {{ name }}", "name=world"),
    "loop": ("{% for i in range(3) %}{{ loop.index }}{{ i }} {% endfor %}",),
    "map": ("{{ m.a }} {{ m['b'][0] }}", 'm:={"a": 1, "b": [2]}'),
    "filters": ("{{ name|upper }} {{ name|quoted }} {{ names|join(', ') }}", 'name=a"b', 'names:=["x", "y"]'),
    "macro": ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}",),
    "missing-with-default": ("{{ x|default('y') }}",),
}
REFUSED = {
    "center": "{{ 'a'|center(1500000000) }}",
    "indent": "{{ 'a'|indent(1500000000, first=true) }}",
    "product": "{{ 'a' * 10**10 }}",
    "list-product": "{{ [1] * 10**10 }}",
    "power": "{{ 2**(2**40) }}",
    "format": "{{ '%1500000000d' % 1 }}",
    "long-loop": "{% for i in range(10**9) %}x{% endfor %}",
    "loops-in-loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "long-output": "{% for i in range(9999) %}{{ 'a' * 1000 }}{% endfor %}",
    "replace": "{{ ('a' * 9999)|replace('a', 'b' * 99999) }}",
    "join": "{{ range(99999)|join('x' * 99999) }}",
    "growing": "{% set x = 'a' %}{% for i in range(99) %}{% set x = x + x %}{% endfor %}{{ y }}",
    "recursive-macro": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "mutual-macros": "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "recursive-loop": "{% for i in [[[1]]] recursive %}{{ loop(i) }}{% endfor %}",
    "deep-brackets": "{{ " + "[" * 9999 + " }}",
    "deep-sum": "{{ " + "+".join(["1"] * 50_000) + " }}",
    "deep-ifs": "{% if 1 %}" * 9999,
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class-by-item": "{{ ''['__class__'] }}",
    "class-by-filter": "{{ ''|attr('__class__') }}",
    "globals": "{{ range.__globals__ }}",
    "self": "{{ self.__init__.__globals__ }}",
    "method": "{{ 'a'.upper() }}",
    "format-method": "{{ '{0.__class__}'.format(1) }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{{ lipsum(1000000) }}",
    "namespace": "{% set n = namespace() %}",
    "object": "{{ range }}",
    "undefined": "{{ nothing }}",
    "undefined-attribute": "{{ {}.nothing }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'x' as y %}",
    "extends": "{% extends 'x' %}",
    "syntax": "{% if %}",
    "not-closed": "{{ 1",
    "division": "{{ 1 // 0 }}",
    "types": "{{ 1 + 'a' }}",
    "escape-in-output": "{{ '\\x1b[31m' }}",
    "escape-in-template": "\x1b[31m",
    "bidirectional-in-template": "a\u202eb",
    "very-long-template": "x" * 300_000,
}

CASES = [
    *(Case(f"template-{name}", "R28", "accept", template(*words)) for name, words in ACCEPTED.items()),
    *(Case(f"template-{name}", "R28", "refuse", template(text)) for name, text in REFUSED.items()),
    Case("template-not-utf-8", "R28", "refuse", template(b"\xff\xfe")),
    Case("value-with-an-escape", "R28", "refuse", template("{{ x }}", "x=\x1b[31m")),
    Case("value-with-bidirectional-text", "R28", "refuse", template("{{ x }}", "x=\u202e")),
    Case("value-with-escaped-control", "R28", "refuse", template("{{ x[0] }}", 'x:=["\\u0007"]')),
    Case("value-with-an-odd-name", "R28", "refuse", template("{{ x }}", "__x__=1")),
    Case("value-that-is-deep", "R28", "refuse", template("{{ x }}", "x:=" + "[" * 20 + "]" * 20)),
    Case("value-twice-in-json", "R22", "refuse", template("{{ x }}", 'x:={"a": 1, "a": 2}')),
    Case("context", "R28", "accept", context(GREETING)),
    Case("context-with-values", "R28", "accept", context(GREETING, "who=me", "count=3")),
    Case("context-with-facts", "R28", "accept", context("cloud_init: {x: '${self.address}'}\n", "self.address=10.0.0.2")),
    Case("context-with-a-parent", "R28", "accept", context("extends: base\n", base="abstract: true\ncloud_init: {a: 1}\n")),
    Case("context-value-that-looks-like-yaml", "R28", "accept", context(GREETING, "who=]]\n- x: !!y")),
    Case("context-value-that-looks-like-a-reference", "R28", "accept", context(GREETING, "who=$${param.count}")),
    Case("context-value-with-an-escape", "R28", "refuse", context(GREETING, "who=\x1b[31m")),
    Case("context-fact-with-bidirectional-text", "R28", "refuse", context("cloud_init: {x: '${self.address}'}\n", "self.address=\u202e")),
    Case("context-large-values", "R28", "refuse", context(large_values())),
    Case("context-many-references", "R28", "refuse", context(many_references())),
    Case("context-large-lists", "R28", "refuse", context(large_list())),
    Case("context-parameters-of-parameters", "form", "refuse", context(doubling())),
    Case("context-reference-without-a-value", "form", "refuse", context("cloud_init: {x: '${param.gone}'}\n")),
    Case("context-parameter-of-another-type", "form", "refuse", context(GREETING, "count=many")),
    Case("context-parameter-that-is-not-there", "form", "refuse", context(GREETING, "what=x")),
    Case("context-that-extends-itself", "form", "refuse", context("extends: worker\n")),
    Case("context-with-a-parent-elsewhere", "form", "refuse", context("extends: ../../etc/passwd\n")),
    Case("context-with-an-alias", "R21", "refuse", context("cloud_init: {a: &x [1], b: *x}\n")),
    Case("context-with-an-escape", "R21", "refuse", context('cloud_init: {a: "\\e[31m"}\n')),
]
