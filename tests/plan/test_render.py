"""Renderings of a plan: what is taken away leads, nothing in a file can become markup or a terminal code."""

from __future__ import annotations

import json

from vmkeeper.plan.actions import Cause
from vmkeeper.plan.factory import Build
from vmkeeper.plan.forecast import HideImage, RegisterImage
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.render import STICKY, as_json, as_markdown, as_text

COMMIT = "a" * 40
BUILD = Build(
    subject="web", reason="files/motd of web changed", cause=Cause(commit=COMMIT, path="appliances/web/files/motd"), recipe="b" * 64, commit=COMMIT
)
HIDE = HideImage(subject="laptop/old", reason="old was removed")
FOLLOW = RegisterImage(subject="laptop/web", reason="site laptop takes web from science", needs=("build:web",))
PLAN = Plan(COMMIT, COMMIT, ordered([BUILD, FOLLOW, HIDE]))


def test_text_leads_with_what_is_taken_away() -> None:
    text = as_text(PLAN)
    assert (
        text.index("Takes away") < text.index("hide") < text.index("Does") < text.index("build") < text.index("Then follows") < text.index("register")
    )
    assert "appliances/web/files/motd in aaaaaaaaaa" in text


def test_json_is_the_stable_interface() -> None:
    shown = json.loads(json.dumps(as_json(PLAN)))
    assert set(shown) == {"version", "base", "head", "digest", "summary", "actions"}
    assert shown["version"] == 1
    assert shown["summary"] == {"build": 1, "hide": 1, "register": 1}
    first, build, _ = shown["actions"]
    assert first["kind"] == "hide"
    assert first["destroys"] is True
    assert build["id"] == "build:web"
    assert build["cause"] == {"commit": COMMIT, "path": "appliances/web/files/motd"}
    assert shown["digest"] == PLAN.digest()


def test_markdown_is_one_sticky_comment() -> None:
    text = as_markdown(PLAN)
    assert text.startswith(STICKY)
    assert text.index("Takes away") < text.index("Does")


def test_nothing_in_a_reason_becomes_markup_or_a_terminal_code() -> None:
    evil = BUILD.model_copy(update={"reason": "x | <script> `code` [a](b) \x1b[31m \u202e"})
    text = as_markdown(Plan("", COMMIT, (evil,)))
    row = next(line for line in text.splitlines() if "script" in line)
    assert "\\<script\\>" in row
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert row.replace("\\|", "").count("|") == 5


def test_an_empty_plan_says_so() -> None:
    empty = Plan("", COMMIT)
    assert as_text(empty) == "Nothing to do."
    assert "nothing to do" in as_markdown(empty)
    assert as_json(empty)["actions"] == []
