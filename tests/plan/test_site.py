"""Site scenarios as data: what lists, trust and the cloud say, and what is to be done. Each is also carried out and planned again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.sitescenario import NOW, OWNER, Downloads, keys, site, standings, subscribed, world
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.execute.site import performer
from vmkeeper.execute.walk import Done, walk
from vmkeeper.plan.site import RegisterImage, SitePlan, plan_site
from vmkeeper.plan.wanted import label

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios/site").glob("*.yaml"))


def load(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path)


READABLE = [path for path in SCENARIOS if all("unusable" not in item for item in load(path)["lists"]) and "hold" not in load(path).get("site", {})]
"""A list that cannot be read keeps its images, and so does a hold."""


def plan(scenario: dict, cloud: World, now=NOW) -> SitePlan:
    return plan_site(
        site(scenario.get("site", {})),
        [subscribed(item) for item in scenario["lists"]],
        standings(scenario["standings"]),
        MemoryCloud(OWNER, cloud).images(),
        owner=OWNER,
        now=now,
        force_retire=scenario.get("force", False),
        had=keys(scenario.get("had", [])),
    )


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    expected = scenario["expect"]
    cloud = world(scenario.get("observed", []))
    untouchable = {key: image for key, image in cloud.images.items() if image.owner != OWNER or image.spec is None}
    made = plan(scenario, cloud)

    said = [f"{action.kind} {action.subject}{' after ' + ', '.join(action.needs) if action.needs else ''}" for action in made.plan.actions]
    assert sorted(said) == sorted(expected["do"])
    position = {action.id: number for number, action in enumerate(made.plan.actions)}
    assert all(position[need] < position[action.id] for action in made.plan.actions for need in action.needs)
    reasons = " | ".join(action.reason for action in made.plan.actions)
    assert all(reason in reasons for reason in expected.get("reasons", []))
    notes = " | ".join(f"{note.subject}: {note.why}" for note in made.notes)
    assert all(note in notes for note in expected.get("notes", [])), notes
    assert (made.refusal is None) == ("refused" not in expected)
    if made.refusal:
        assert expected["refused"] in str(made.refusal)
        assert "--force-retire" in made.refusal.hint
    assert [action.spec.format for action in made.plan.actions if isinstance(action, RegisterImage)] == expected.get(
        "formats", ["qcow2"] * len([action for action in made.plan.actions if isinstance(action, RegisterImage)])
    )

    assert [action.store_as for action in made.plan.actions if isinstance(action, RegisterImage) and action.store_as] == expected.get("converted", [])

    outcomes = walk(made.plan, performer(MemoryCloud(OWNER, cloud), Downloads(tmp_path), lambda: NOW))
    assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
    usable = sorted(label(image.spec) for image in cloud.images.values() if image.owner == OWNER and image.spec and image.state == "active")
    assert usable == expected["usable"]
    assert {key: cloud.images[key] for key in untouchable} == untouchable
    shown = {label(image.spec): image.spec for image in cloud.images.values() if image.owner == OWNER and image.spec and image.state == "active"}
    for words, said_of_it in expected.get("says", {}).items():
        found = shown[words].model_dump(mode="json")
        assert {key: found[key] for key in said_of_it} == said_of_it
    if expected.get("order"):
        assert [f"{action.kind} {action.subject}" for action in made.plan.actions] == expected["order"]
    assert plan(scenario, cloud).plan.actions == ()


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_after_the_grace_period_only_usable_and_used_images_are_left(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    cloud = world(scenario.get("observed", []))
    walk(plan(scenario, cloud).plan, performer(MemoryCloud(OWNER, cloud), Downloads(tmp_path), lambda: NOW))
    later = NOW + timedelta(days=8)
    for _ in range(2):
        walk(plan(scenario, cloud, later).plan, performer(MemoryCloud(OWNER, cloud), Downloads(tmp_path), lambda: later))
    used = {machine.image for machine in cloud.machines.values()}
    for image in cloud.images.values():
        if image.owner == OWNER and image.spec:
            fresh = image.hidden_since == later
            assert image.state == "active" or image.id in used or fresh


def test_the_digest_of_a_plan_does_not_depend_on_the_moment() -> None:
    scenario = load(SCENARIOS[0].parent / "update.yaml")
    cloud = world(scenario["observed"])
    assert plan(scenario, cloud).plan.digest() == plan(scenario, cloud, NOW + timedelta(hours=1)).plan.digest()
