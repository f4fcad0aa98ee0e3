"""Contexts: what they inherit, what is filled in, and the one text that comes out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from vmkeeper.contexts.inherit import resolve
from vmkeeper.contexts.render import fill, to_text
from vmkeeper.errors import Problems
from vmkeeper.model.context import Context


def context(**fields: Any) -> Context:
    return Context.model_validate(fields)


def resolved(name: str, **contexts: dict) -> Context:
    return resolve(name, {key: context(**fields) for key, fields in contexts.items()}.get)


def said(error: pytest.ExceptionInfo[Problems]) -> list[str]:
    return [f"{problem.place.field}: {problem.what}" for problem in error.value.problems]


# -- inheritance


def test_maps_merge_lists_append_scalars_replace() -> None:
    made = resolved(
        "child",
        base={
            "title": "Base",
            "tags": ["a"],
            "parameters": {"x": {"default": "1"}},
            "cloud_init": {"packages": ["a"], "ntp": {"enabled": True, "servers": ["s"]}},
        },
        middle={"extends": "base", "cloud_init": {"packages": ["b"], "ntp": {"enabled": False}}},
        child={"extends": "middle", "title": "Child", "tags": ["b"], "parameters": {"y": {"type": "integer"}}, "cloud_init": {"packages": ["c"]}},
    )
    assert made.cloud_init == {"packages": ["a", "b", "c"], "ntp": {"enabled": False, "servers": ["s"]}}
    assert (made.title, made.tags, list(made.parameters), made.extends) == ("Child", ("a", "b"), ["x", "y"], None)


def test_a_child_of_an_abstract_context_is_not_abstract() -> None:
    assert not resolved("child", base={"abstract": True}, child={"extends": "base"}).abstract


def test_an_abstract_context_cannot_be_used() -> None:
    with pytest.raises(Problems) as error:
        fill("base", context(abstract=True), {}, {})
    assert "is abstract" in said(error)[0]


@pytest.mark.parametrize(
    ("contexts", "what"),
    [
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "circle: a → b → a"),
        ({"a": {"extends": "a"}}, "circle: a → a"),
        ({"a": {"extends": "b"}}, "there is no context b"),
        ({}, "there is no context a"),
        ({"a": {"extends": "x0"}, **{f"x{n}": {"extends": f"x{n + 1}"} for n in range(20)}}, "more than 16"),
    ],
)
def test_a_chain_that_leads_nowhere_is_an_error(contexts: dict, what: str) -> None:
    with pytest.raises(Problems) as error:
        resolved("a", **contexts)
    assert what in said(error)[0]


# -- parameters and references


def test_references_are_filled_in_everywhere() -> None:
    made = context(
        parameters={
            "who": {"default": "world"},
            "count": {"type": "integer"},
            "names": {"type": "list", "default": ["a", "b"]},
            "on": {"type": "boolean"},
        },
        cloud_init={
            "runcmd": [["echo", "hello ${param.who}, ${param.count} times, ${param.on}"]],
            "n": "${param.count}",
            "l": "${param.names}",
            "b": "${param.on}",
            "t": "all: ${param.names}",
            "${param.who}": 1,
        },
    )
    assert fill("c", made, {"count": 3, "on": False}, {}) == {
        "runcmd": [["echo", "hello world, 3 times, false"]],
        "n": 3,
        "l": ["a", "b"],
        "b": False,
        "t": "all: a, b",
        "world": 1,
    }


def test_addresses_come_from_facts_also_through_parameters() -> None:
    made = context(parameters={"master": {"type": "address"}}, cloud_init={"x": "${param.master}:9618 ${self.address}"})
    facts = {"self.address": "10.0.0.2", "service.master.address": "10.0.0.1"}
    assert fill("c", made, {"master": "${service.master.address}"}, facts) == {"x": "10.0.0.1:9618 10.0.0.2"}


def test_the_structure_does_not_depend_on_addresses() -> None:
    made = context(parameters={"master": {"type": "address"}}, cloud_init={"x": "${param.master} ${self.address}"})
    kept = fill("c", made, {"master": "${service.master.address}"}, {}, keep_addresses=True)
    assert kept == {"x": "${service.master.address} ${self.address}"}


def test_shell_variables_and_escaped_references_are_left_alone() -> None:
    script = "echo ${HOME} ${x:-y} $PATH ${#a} $(date) $${param.x} ${x%.*}"
    assert fill("c", context(cloud_init={"x": script}), {}, {}) == {"x": script.replace("$$", "$")}


def test_every_reference_without_a_value_is_told_at_once() -> None:
    made = context(
        secrets=["pool"],
        cloud_init={
            "a": "${param.gone} ${self.address}",
            "b": ["${service.master.address}", {"c": "${secret.pool}"}],
            "d": "${params.x}",
            "e": "${self.name}",
        },
    )
    with pytest.raises(Problems) as error:
        fill("c", made, {}, {})
    assert said(error) == [
        "cloud_init.a: ${param.gone} has no value",
        "cloud_init.a: ${self.address} has no value",
        "cloud_init.b[0]: ${service.master.address} has no value",
        "cloud_init.b[1].c: ${secret.pool} has no value",
        "cloud_init.d: ${params.x} has no value",
        "cloud_init.e: ${self.name} has no value",
    ]
    assert all(problem.hint for problem in error.value.problems)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x"], [1, True]),
        ("integer", [0, -5], ["1", True]),
        ("boolean", [True, False], ["yes", 1]),
        ("address", ["10.0.0.1", "::1", "${self.address}", "${service.master.address}"], ["10.0.0.256", "host", "", 1]),
    ],
)
def test_parameters_are_typed(kind: str, good: list, bad: list) -> None:
    made = context(parameters={"x": {"type": kind}}, cloud_init={})
    facts = {"self.address": "10.0.0.1", "service.master.address": "10.0.0.1"}
    for value in good:
        fill("c", made, {"x": value}, facts)
    for value in bad:
        with pytest.raises(Problems) as error:
            fill("c", made, {"x": value}, facts)
        assert "the parameter x" in said(error)[0]


def test_missing_and_unknown_parameters_are_told_at_once() -> None:
    with pytest.raises(Problems) as error:
        fill("c", context(parameters={"a": {}, "b": {"default": "x"}}, cloud_init={}), {"d": 1}, {})
    assert said(error) == ["parameters: the parameter a is not given", "parameters: there is no parameter d"]


def test_a_value_is_not_filled_in_twice() -> None:
    made = context(parameters={"x": {}, "y": {}}, cloud_init={"a": "${param.x}"})
    assert fill("c", made, {"x": "$${param.y}", "y": "1"}, {}) == {"a": "${param.y}"}


# -- text


def test_the_text_is_what_cloud_init_reads() -> None:
    config = {
        "write_files": [{"path": "/etc/x", "permissions": "0644", "content": "one\n  two\n"}],
        "yes": "no",
        "count": 12,
        "t": True,
        "nothing": None,
        "odd key:": "12:30:45",
    }
    text = to_text(config)
    assert text == (
        "#cloud-config\n"
        "write_files:\n"
        '- path: "/etc/x"\n'
        '  permissions: "0644"\n'
        "  content: |\n"
        "    one\n"
        "      two\n"
        '"yes": "no"\n'
        "count: 12\n"
        "t: true\n"
        "nothing:\n"
        '"odd key:": "12:30:45"\n'
    )
    assert read(text, (1, 1)) == config


def read(text: str, version: tuple[int, int]) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(text)


_text = st.one_of(
    st.sampled_from(
        [
            "yes",
            "0644",
            "0o17",
            "1e3",
            "~",
            "null",
            "12:30:45",
            "- x",
            "a: b",
            "#c",
            "a\n",
            "a\n\n",
            "\na",
            " a\nb\n",
            "a\n b\n",
            "\t",
            "é\u2028",
            "'",
            '"',
            "%a",
            "@a",
            "2026-11-20",
            "<<",
            "=",
            "&a",
            "*a",
            "!x",
            "|",
            ">",
            "{",
            "a #b",
            "a\\b",
            "--- a\n",
            "...\n",
        ]
    ),
    st.text(max_size=30),
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), _text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_text.filter(lambda key: len(key) < 100), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), _values, min_size=1, max_size=4))
def test_the_text_means_the_same_in_both_versions_of_yaml(config: dict[str, Any]) -> None:
    text = to_text(config)
    assert read(text, (1, 1)) == config
    assert read(text, (1, 2)) == config
    assert to_text(config) == text
