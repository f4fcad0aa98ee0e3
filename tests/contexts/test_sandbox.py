"""Rendering in a process of its own: what honest documents make, and that hostile ones end soon, small and refused."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.trust.cases_templates import ACCEPTED, REFUSED
from vmkeeper.contexts import render, sandbox, templates
from vmkeeper.contexts.sandbox import RenderLimits, render_template, render_templates
from vmkeeper.errors import Problems, Refused
from vmkeeper.model.context import Context


def refused(text: str, values: dict[str, Any] | None = None, limits: RenderLimits = sandbox.LIMITS) -> str:
    with pytest.raises(Refused) as error:
        render_template(text, values or {}, limits=limits)
    assert error.value.rule == "R28"
    assert error.value.hint or error.value.why or error.value.what
    return str(error.value)


def context(**fields: Any) -> Context:
    return Context.model_validate(fields)


def test_values_are_filled_in() -> None:
    text = "{% for disk in disks %}DISK=[NAME={{ disk.name|quoted }},SIZE={{ disk['size'] }}]\n{% endfor %}"
    values = {"disks": [{"name": 'a "b" \\', "size": 3}, {"name": "c\nd", "size": 4}]}
    assert render_template(text, values) == 'DISK=[NAME="a \\"b\\" \\\\",SIZE=3]\nDISK=[NAME="c\\nd",SIZE=4]\n'


@pytest.mark.parametrize("words", ACCEPTED.values(), ids=ACCEPTED)
def test_honest_templates_are_rendered(words: tuple[str, ...]) -> None:
    values = {}
    for word in words[1:]:
        name, _, text = word.partition("=")
        values[name.removesuffix(":")] = json.loads(text) if name.endswith(":") else text
    assert render_template(words[0], values) == templates.render(words[0], values)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_hostile_templates_are_refused_with_no_more_than_a_little_processor_time(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    refused(text)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert after.ru_maxrss <= max(before.ru_maxrss, 256 << 10)


def test_the_childs_memory_is_limited() -> None:
    assert "MemoryError" in refused("{{ 'a' * (300 * 1024 * 1024) }}")
    text = "{{ ('a' * (90 * 1024 * 1024))|length }}"
    assert render_template(text, {}) == str(90 << 20)
    assert "MemoryError" in refused(text, limits=RenderLimits(memory=100 << 20))


def test_the_childs_time_is_limited() -> None:
    said = refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", limits=RenderLimits(cpu=0.2))
    assert "0.2 s of processor time" in said


def test_the_output_is_limited() -> None:
    assert "more than 10 characters" in refused("{{ x }}", {"x": "a" * 11}, RenderLimits(output=10))
    assert render_template("{{ x }}", {"x": "a" * 10}, limits=RenderLimits(output=10)) == "a" * 10


@pytest.mark.parametrize("value", [object(), {1: 2}, b"bytes", {"a": {1, 2}}, print, 1j, float("nan")])
def test_values_that_are_not_plain_are_refused(value: Any) -> None:
    assert "R28" in refused("{{ x }}", {"x": value})


def test_nothing_beside_the_answer_decides_which_modules_the_child_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise SystemExit('taken over')")
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert render_template("{{ x }}", {"x": 1}) == "1"


def test_a_child_that_fails_for_another_reason_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    with pytest.raises(Exception, match="the process that renders failed"):
        render_template("x", {})


def test_the_child_reads_and_answers_json() -> None:
    request = {"do": "template", "text": "{{ x }}", "values": {"x": [1]}, "max_output": 10, "cpu": 1}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "vmkeeper.contexts.child"], input=json.dumps(request), capture_output=True, text=True, check=True, env=os.environ
    )
    assert (json.loads(done.stdout), done.stderr) == ({"made": "[1]"}, "")


def test_contexts_are_the_same_in_the_child() -> None:
    made = context(
        parameters={"names": {"type": "list", "default": ["a"]}, "n": {"type": "integer"}, "master": {"type": "address"}},
        cloud_init={"x": ["${param.names}", "${param.n}", 1.5, None, True], "y": "${param.master} ${param.names}"},
    )
    values = {"n": 3, "names": ("b", "c"), "master": "10.0.0.1"}
    assert sandbox.both("c", made, values, {}) == render.both("c", made, values, {})


def test_all_problems_of_a_context_come_back_from_the_child() -> None:
    made = context(parameters={"a": {}}, cloud_init={"x": "${param.b} ${self.address}"})
    with pytest.raises(Problems) as inside:
        render.both("c", made, {"a": "x"}, {})
    with pytest.raises(Problems) as outside:
        sandbox.both("c", made, {"a": "x"}, {})
    assert outside.value.problems == inside.value.problems
    assert len(outside.value.problems) == 2


def test_a_parameter_cannot_refer_to_another_one() -> None:
    made = context(parameters={"a": {"default": "x"}, "b": {"default": "${param.a}"}}, cloud_init={"x": "${param.b}"})
    with pytest.raises(Problems, match="may not refer to another parameter"):
        render.fill("c", made, {}, {})


@pytest.mark.parametrize(
    "cloud_init",
    [
        {"x": "${param.big}" * 100},
        {"x": ["${param.big}"] * 100},
        {"x": {f"k{n}": "${param.many}" for n in range(100)}},
        {"${param.big}": ["${param.big}"] * 9},
    ],
)
def test_what_grows_beyond_all_measure_is_refused(cloud_init: dict[str, Any]) -> None:
    parameters = {"big": {"default": "x" * 60_000}, "many": {"type": "list", "default": ["y" * 100] * 600}}
    with pytest.raises(Refused) as error:
        render.fill("c", context(parameters=parameters, cloud_init=cloud_init), {}, {})
    assert error.value.rule == "R28"


def test_many_references_are_refused() -> None:
    made = context(parameters={"p": {"default": ""}}, cloud_init={"x": "${param.p}" * 10_001})
    with pytest.raises(Refused, match="10000 references"):
        render.fill("c", made, {}, {})


_PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", " x ", "for i in range(9)", "endfor", "if x", "endif", "|upper", "|join('')", "'a'", "*9", "**9", ".__class__", "[0]",
     "(", ")", "macro f()", "endmacro", "f()", "set y = x", "raw", "endraw", "\n", "loop.index", "recursive", "~", "not ", "is defined", "{", "}", "[", "]"]
)  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=3), max_size=12).map("".join))
@settings(max_examples=300)
def test_any_template_is_rendered_or_refused(text: str) -> None:
    with suppress(Refused):
        assert templates.is_plain(templates.render(text, {"x": "value"}))


def test_one_template_for_many_sets_of_values_in_few_children() -> None:
    rows = [{"name": f"n{number}"} for number in range(250)]
    assert render_templates("{{ name | upper }}!", rows) == [f"N{number}!" for number in range(250)]
    assert render_templates("{{ name }}", []) == []


def test_of_many_sets_of_values_one_that_cannot_be_filled_in_is_refused_alone() -> None:
    made = render_templates("{{ 1 // n }}", [{"n": 1}, {"n": 0}, {"n": 1}])
    assert (made[0], made[2]) == ("1", "1")
    assert isinstance(made[1], Refused)
    assert made[1].rule == "R28"
    assert all(isinstance(one, Refused) for one in render_templates("{{ name * 2000 }}", [{"name": "n"}]))
    assert all(isinstance(one, Refused) for one in render_templates("{{ name", [{"name": "n"}] * 3))
    assert all(isinstance(one, Refused) for one in render_templates("{{ name }}", [{"name": "\x1b[31m"}]))


def test_a_template_without_end_is_refused_for_all_that_shared_its_child() -> None:
    made = render_templates("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", [{"name": "n"}] * 2)
    assert [str(one.rule) for one in made if isinstance(one, Refused)] == ["R28", "R28"]
