"""What holds for every plan of a site, whatever lists, trust and the cloud say."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from support.sitescenario import NOW, OWNER, Downloads, keys, site, spec, standings, subscribed, uuid_of, world
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient
from vmkeeper.execute.site import performer
from vmkeeper.execute.walk import walk
from vmkeeper.plan.places import merged
from vmkeeper.plan.site import HideImage, RegisterImage, SitePlan, plan_site
from vmkeeper.plan.wanted import Allowed, image_standing
from vmkeeper.values import Version

WORDS = [f"{name} {version}" for name in ("a", "b", "c") for version in (1, 2, 3)]
PAST = "2026-11-01T00:00:00Z"
words = st.sampled_from(WORDS)
expiry = st.sampled_from([{}, {"expires": PAST}, {"expires": "2026-12-24T00:00:00Z"}])
salt = st.sampled_from([{}, {}, {}, {"salt": "other"}])
standing = st.one_of(
    st.just("allowed"),
    st.just("allowed"),
    st.just("allowed"),
    st.builds(lambda when: {"allowed": True, **when}, expiry),
    st.sampled_from([{ground: "because"} for ground in ("withdrawn", "blocked", "unapproved", "unendorsed")]),
)
offer = st.builds(lambda what, when, other: {"offer": what, **when, **other}, words, expiry, salt)
lists = st.lists(
    st.one_of(
        st.builds(lambda offers, when: {"offers": offers, **when}, st.lists(offer, max_size=5), st.sampled_from([{}, {}, {}, {"expires": PAST}])),
        st.builds(lambda when: {"unusable": "down", **when}, st.sampled_from([{}, {"expires": PAST}, {"expires": "2026-12-01T00:00:00Z"}])),
    ),
    min_size=1,
    max_size=2,
).map(lambda found: [{"name": name, **item} for name, item in zip(("main", "other"), found, strict=False)])


def aliased(found: dict) -> dict:
    """An image that bears its appliance's alias where it is said so."""
    return {key: value for key, value in found.items() if key != "aliased"} | ({"alias": found["image"].split()[0]} if "aliased" in found else {})


state = st.sampled_from(
    [{}, {}, {}, {"state": "incomplete"}, {"state": "hidden", "hidden_since": PAST}, {"state": "hidden", "hidden_since": "2026-11-20T09:00:00Z"}]
)
owner = st.sampled_from([{}, {}, {}, {"owner": None}, {"owner": "vmkeeper:elsewhere"}])
image = st.builds(
    lambda what, *more: {"image": what, **{key: value for part in more for key, value in part.items()}},
    words,
    expiry,
    salt,
    state,
    owner,
    st.sampled_from([{}, {}, {"in_use": True}]),
    st.sampled_from([{}, {}, {"source": "other"}, {"source": "gone"}]),
    st.sampled_from([{}, {}, {"drift": ["it has another name"]}]),
    st.booleans().map(lambda borne: {"aliased": True} if borne else {}),
).map(aliased)
holds = st.sampled_from([[], [], [], [{"appliance": "a", "reason": "r"}], [{"appliance": "*", "reason": "r"}]])
sites = st.builds(
    lambda keep, alias, drift, hold: {"keep": keep, "names": {"alias": alias}, "drift": drift, "hold": hold},
    st.integers(1, 3),
    st.sampled_from(["{{ appliance }}", "{{ appliance }}", ""]),
    st.sampled_from(["repair", "repair", "leave"]),
    holds,
)
scenarios = st.fixed_dictionaries(
    {
        "site": sites,
        "lists": lists,
        "standings": st.dictionaries(words, standing, max_size=9),
        "observed": st.lists(image, max_size=7),
        "force": st.booleans(),
        "had": st.lists(words, max_size=3),
    }
)


def plan(scenario: dict, cloud: World, now=NOW) -> SitePlan:
    return plan_of(scenario, MemoryCloud(OWNER, cloud).images(), now)


def plan_of(scenario: dict, images, now=NOW, owner: str = OWNER) -> SitePlan:
    found = [subscribed(item) for item in scenario["lists"]]
    return plan_site(
        site(scenario["site"]),
        found,
        standings(scenario["standings"]),
        images,
        owner=owner,
        now=now,
        force_retire=scenario["force"],
        had=keys(scenario["had"]),
    )


def carry_out(scenario: dict, cloud: World, fault=None, now=NOW):
    with tempfile.TemporaryDirectory() as folder:
        return walk(plan(scenario, cloud, now).plan, performer(MemoryCloud(OWNER, cloud, fault), Downloads(Path(folder)), lambda: now))


def copy(cloud: World) -> World:
    return World(images=dict(cloud.images), machines=dict(cloud.machines), audiences=dict(cloud.audiences), last=1000)


@settings(max_examples=200, deadline=None)
@given(scenarios)
def test_carried_out_the_plan_is_empty(scenario: dict) -> None:
    cloud = world(scenario["observed"])
    carry_out(scenario, cloud)
    assert plan(scenario, cloud).plan.actions == ()


@settings(max_examples=200, deadline=None)
@given(scenarios)
def test_what_is_not_ours_is_never_named_and_stays_as_it_was(scenario: dict) -> None:
    cloud = world(scenario["observed"])
    foreign = {key: item for key, item in cloud.images.items() if item.owner != OWNER}
    made = plan(scenario, cloud)
    assert not {getattr(action, "image", None) for action in made.plan.actions} & set(foreign)
    carry_out(scenario, cloud)
    assert {key: cloud.images[key] for key in foreign} == foreign


@settings(max_examples=200, deadline=None)
@given(scenarios)
def test_only_what_is_allowed_is_usable_afterwards(scenario: dict) -> None:
    cloud = world(scenario["observed"])
    refused = plan(scenario, cloud).refusal is not None
    carry_out(scenario, cloud)
    said = standings(scenario["standings"])
    for item in cloud.images.values():
        if item.owner == OWNER and item.spec and item.state == "active":
            found = image_standing(item.spec, said, NOW)
            held = scenario["site"]["hold"] and item.spec.list not in {uuid_of(one["name"]) for one in scenario["lists"]}
            assert isinstance(found, Allowed) or held or (refused and found.ground in ("unapproved", "unendorsed"))


@settings(max_examples=200, deadline=None)
@given(scenarios, st.sampled_from(["upload", "update", "delete"]), st.sampled_from(["before", "created", "after"]), st.integers(0, 4))
def test_a_fault_anywhere_is_made_good_by_the_next_run(scenario: dict, method: str, moment: str, skip: int) -> None:
    """Error before, in the middle of, and after the effect of the nth call; then the same end state as without it."""
    observed = world(scenario["observed"])
    faulty, sound = copy(observed), copy(observed)
    left = [skip]

    def fault(called: str, at: str) -> None:
        if (called, at) == (method, moment):
            left[0] -= 1
            if left[0] == -1:
                raise Transient("struck")

    carry_out(scenario, faulty, fault)
    carry_out(scenario, faulty)
    carry_out(scenario, sound)
    assert plan(scenario, faulty).plan.actions == ()
    assert end_state(faulty) == end_state(sound)


@settings(max_examples=200, deadline=None)
@given(scenarios, st.integers(0, 6))
def test_killed_after_any_number_of_calls_every_appliance_that_may_run_still_has_a_usable_image(scenario: dict, calls: int) -> None:
    cloud = world(scenario["observed"])
    said = standings(scenario["standings"])
    before = usable(cloud, said)
    made = plan(scenario, cloud)
    gone_for_good = {action.spec.uuid for action in made.plan.actions if isinstance(action, HideImage)}
    left = [calls]

    def fault(called: str, at: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Transient("the cloud is gone")

    carry_out(scenario, cloud, fault)
    for uuid in before & successors(scenario, said):
        assert uuid in usable(cloud, said), f"{uuid} lost its usable image; {gone_for_good}"


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_nothing_is_deleted_that_is_usable_used_or_within_its_grace(scenario: dict) -> None:
    cloud = world(scenario["observed"])
    kept = [
        item.id
        for item in MemoryCloud(OWNER, cloud).images()
        if (item.in_use and item.state != "incomplete")
        or item.state == "active"
        or (item.hidden_since and NOW - item.hidden_since < timedelta(days=7))
    ]
    carry_out(scenario, cloud)
    assert set(kept) <= set(cloud.images)


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_the_order_in_which_the_cloud_lists_images_does_not_matter(scenario: dict) -> None:
    images = MemoryCloud(OWNER, world(scenario["observed"])).images()
    plans = [plan_of(scenario, order) for order in (images, images[::-1])]
    assert plans[0].notes == plans[1].notes
    assert plans[0].plan.digest() == plans[1].plan.digest()


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_after_a_run_the_newest_wanted_version_of_each_appliance_bears_its_alias_and_no_other_does(scenario: dict) -> None:
    scenario["site"]["names"]["alias"] = "{{ appliance }}"
    cloud = world(scenario["observed"])
    made = plan(scenario, cloud)
    carry_out(scenario, cloud)
    bearers = aliases(cloud)
    for uuid, versions in bearers.items():
        assert len(versions) <= 1 or made.notes, f"{uuid}: {versions}"
    for uuid, specs in active(cloud).items():
        if {one.list for one in specs} <= {uuid_of("main"), uuid_of("other")} and not any("unusable" in item for item in scenario["lists"]):
            may = [one for one in specs if isinstance(image_standing(one, standings(scenario["standings"]), NOW), Allowed)]
            if may and not made.refusal and not scenario["site"]["hold"]:
                assert [one.version for one in bearers[uuid]] == [max(one.version for one in may)]


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_at_no_moment_is_an_alias_without_a_bearer_that_had_one_and_keeps_one(scenario: dict) -> None:
    """After each action, in the plan's order: what users get under an alias is there before and after, and in between.

    But for an image that must not run a moment longer where its successor has still to be fetched.
    """
    scenario["site"]["names"]["alias"] = "{{ appliance }}"
    before, after = world(scenario["observed"]), world(scenario["observed"])
    carry_out(scenario, after)
    cloud = world(scenario["observed"])
    actions = plan(scenario, cloud).plan.actions
    at_once = {action.spec.uuid for action in actions if isinstance(action, HideImage) and not action.needs}
    fetched = {action.spec.uuid for action in actions if isinstance(action, RegisterImage)}
    steady = {uuid for uuid in aliases(before) if uuid in aliases(after) and uuid not in at_once & fetched}
    client = MemoryCloud(OWNER, cloud)
    with tempfile.TemporaryDirectory() as folder:
        perform = performer(client, Downloads(Path(folder)), lambda: NOW)
        for action in actions:
            perform(action)
            assert steady <= set(aliases(cloud)), action.id


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_a_held_appliance_gets_nothing_newer_and_loses_only_what_must_not_run(scenario: dict) -> None:
    scenario["site"]["hold"] = [{"appliance": "*", "reason": "r"}]
    before, cloud = world(scenario["observed"]), world(scenario["observed"])
    said, had = standings(scenario["standings"]), keys(scenario["had"])
    carry_out(scenario, cloud)
    there = {item.spec.key for item in before.images.values() if item.owner == OWNER and item.spec and item.state != "incomplete"}
    for uuid, specs in active(cloud).items():
        old = active(before).get(uuid, [])
        for one in specs:
            assert one.key in there | had
            assert not old or one.version <= max(it.version for it in old) or one.key in had
    left = {one.key for specs in active(cloud).values() for one in specs}
    for uuid, specs in active(before).items():
        for one in specs:
            if isinstance(image_standing(one, said, NOW), Allowed) and not any("expires" in item for item in scenario["lists"]):
                assert one.key in left, uuid


@settings(max_examples=100, deadline=None)
@given(scenarios, scenarios)
def test_what_is_planned_at_one_place_does_not_depend_on_what_another_has(scenario: dict, other: dict) -> None:
    """The merged plan is each place's own plan, in an order that keeps each place's needs."""
    clouds = {"east": world(scenario["observed"]), "west": world(other["observed"])}
    alone = {place: plan(scenario, cloud) for place, cloud in clouds.items()}
    together = merged(alone).plan.actions
    position = {action.id: number for number, action in enumerate(together)}
    assert all(position[need] < position[action.id] for action in together for need in action.needs)
    for place, made in alone.items():
        here = [action for action in together if action.place == place]
        assert {action.id for action in here} == {f"{action.id} @{place}" for action in made.plan.actions}
        assert {need for action in here for need in action.needs} == {f"{need} @{place}" for action in made.plan.actions for need in action.needs}
        assert sorted(action.reason for action in here) == sorted(action.reason for action in made.plan.actions)


def active(cloud: World) -> dict[str, list]:
    """Usable images of ours, by appliance."""
    found: dict[str, list] = {}
    for item in cloud.images.values():
        if item.owner == OWNER and item.spec and item.state == "active":
            found.setdefault(item.spec.uuid, []).append(item.spec)
    return found


def aliases(cloud: World) -> dict[str, list]:
    """Usable images of ours that bear an alias, by appliance."""
    found = {uuid: [one for one in specs if one.alias] for uuid, specs in active(cloud).items()}
    return {uuid: specs for uuid, specs in found.items() if specs}


def usable(cloud: World, said: dict) -> set[str]:
    """Appliances with an active image that may run, whichever list it is said to come from."""
    ours = [item.spec for item in cloud.images.values() if item.owner == OWNER and item.spec and item.state == "active"]
    found = set()
    for item in ours:
        listed = [item.model_copy(update={"list": uuid_of(name)}) for name in ("main", "other")]
        if any(isinstance(image_standing(one, said, NOW), Allowed) for one in listed):
            found.add(item.uuid)
    return found


def successors(scenario: dict, said: dict) -> set[str]:
    """Appliances of which a readable list in date offers a version that may run."""
    found = set()
    for item in scenario["lists"]:
        if "offers" in item and "expires" not in item:
            for entry in item["offers"]:
                name, version = entry["offer"].split()
                offered = spec(entry["offer"], salt=entry.get("salt", ""))
                allowed = said.get((uuid_of("main"), uuid_of(name), Version(version)))
                in_date = "expires" not in entry or entry["expires"] > "2026-11-20"
                if (
                    in_date
                    and isinstance(allowed, Allowed)
                    and allowed.expires > NOW
                    and any(file.sha512 == offered.sha512 for file in allowed.files)
                ):
                    found.add(uuid_of(name))
    return found


def end_state(cloud: World) -> set:
    """What matters of a cloud in the end, without ids."""
    return {(item.owner, item.spec and item.spec.key, item.state, item.hidden_since is not None) for item in cloud.images.values()}


def test_the_helpers_above_copy_worlds() -> None:
    cloud = world(["a 1"])
    twin = copy(cloud)
    twin.images["i1"] = replace(twin.images["i1"], state="hidden")
    assert cloud.images["i1"].state == "active"
