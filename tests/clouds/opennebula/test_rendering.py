"""A site's templates can say what they are for, and cannot do anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.clouds.opennebula.rendering import check_template, render
from vmkeeper.errors import UserError

VALUES: dict[str, Any] = {
    "cpus": 2,
    "name": "debian",
    "properties": {"ad:mpuri": "https://example.org"},
    "groups": ["a", "b"],
    "none": None,
    "uefi": True,
}


def made(text: str, **values: Any) -> dict[str, Any]:
    return render(text, {**VALUES, **values}, "there")


def test_scalars_stay_as_they_are_written() -> None:
    assert made("CPU: 0.10\nY: yes\nN: ~\nO: 010\nQ: 'a: b'\nM: |\n  a\n  b\n") == {
        "CPU": "0.10",
        "Y": "yes",
        "N": "~",
        "O": "010",
        "Q": "a: b",
        "M": "a\nb",
    }


def test_vectors_lists_conditions_and_loops() -> None:
    text = """
cpu: "{{ cpus }}"
os: {arch: "{{ arch | default('x86_64') }}"}
disk:
- {image_id: 1}
- {image_id: 2}
{% if uefi and cpus > 1 %}FIRMWARE: UEFI{% else %}FIRMWARE: BIOS{% endif %}
{% for group in groups %}GROUP_{{ group }}: "{{ group | upper }}"
{% endfor %}
URI: {{ properties["ad:mpuri"] }}
"""
    assert made(text) == {
        "CPU": "2",
        "OS": {"ARCH": "x86_64"},
        "DISK": [{"IMAGE_ID": "1"}, {"IMAGE_ID": "2"}],
        "FIRMWARE": "UEFI",
        "GROUP_A": "A",
        "GROUP_B": "B",
        "URI": "https://example.org",
    }


def test_what_is_empty_is_left_out() -> None:
    assert made("A: ''\nB: {}\nC: {D: ''}\nE: 1") == {"E": "1"}


@given(st.text(max_size=80))
def test_a_value_never_becomes_structure(value: str) -> None:
    found = made('A: "{{ name }}"\nB: {{ name }}\nC: {D: {{ name }}, E: 1}\nF: "x{{ name }}y"', name=value)
    assert set(found) <= {"A", "B", "C", "F"}
    assert set(found["C"]) <= {"D", "E"}
    assert found["F"].startswith("x")
    assert found["C"]["E"] == "1"
    assert all("]]>" not in str(text) for text in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "A: {{ ''.__class__ }}",
        "A: {{ name.__class__.__mro__ }}",
        "A: {{ properties.items() }}",
        "A: {{ name.upper() }}",
        "A: {{ name['__class__'] }}",
        "A: {{ cycler }}",
        "A: {{ self }}",
        "A: {{ properties }}",
        "A: {{ none }}",
        "A: {{ 'a' * 1000 }}",
        "A: {{ 9 ** 9 }}",
        "A: {{ name | replace('a', 'b') }}",
        "A: {{ name | format }}",
        "A: {{ groups | join }}",
        "A: {{ _put_off(1) }}",
        "A: {{ nothing }}",
        "{% for a in groups %}{% for b in groups %}{% endfor %}{% endfor %}",
        "{% for a in range(9) %}{% endfor %}",
        "{% set a = 1 %}A: 1",
        "{% macro m() %}{% endmacro %}A: 1",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% filter upper %}a{% endfilter %}",
        "{% if %}",
        "{{",
        "A: [",
        "A: &x 1\nB: *x",
        "- a",
        "text",
        "",
        "A B: 1",
        "A-B: 1",
        "9: 1",
        "'': 1",
        "A: {B: {C: {D: {E: 1}}}}",
        "A: !!python/object:os.system x\n? [1]\n: x",
        "{% for a in big %}" + "x" * 200 + "\n{% endfor %}",
    ],
)
def test_everything_else_is_told(text: str) -> None:
    with pytest.raises(UserError) as told:
        made(text, big="y" * 10000)
    assert told.value.where == "there"


def test_a_template_is_looked_at_before_it_is_used() -> None:
    check_template("A: {{ anything }}", "there")
    with pytest.raises(UserError, match="Mul"):
        check_template("A: {{ 1 * 1 }}", "there")


def test_a_mark_in_a_templates_own_text_means_nothing() -> None:
    assert made("A: vmk0kmv\nB: {{ name }}")["B"] == "debian"
