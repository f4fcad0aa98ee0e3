"""A cluster's plan: what is started, what is left alone, and what stands in the way before anything starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.sitescenario import NOW, OWNER, spec, standings, subscribed, uuid_of
from vmkeeper.clouds.interface import CloudImage, CloudMachine
from vmkeeper.contexts.render import HEADER
from vmkeeper.errors import Problems
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.context import Context
from vmkeeper.plan.cluster import ClusterPlan, StartMachine, plan_down, plan_up, ready_mark
from vmkeeper.plan.wanted import runnable
from vmkeeper.values import Size

DEMO: dict[str, Any] = {
    "name": "demo",
    "services": {"web": {"fixed": True, "appliance": {"name": "debian-12"}, "context": "web", "with": {"port": 80}}},
    "placement": [{"site": "here"}],
}
POOL: dict[str, Any] = {
    "name": "pool",
    "services": {
        "worker": {"appliance": {"name": "worker"}, "context": "plain", "after": ["master"], "scale": {"max": 5, "desired": 3}},
        "master": {"fixed": True, "appliance": {"name": "debian-12", "version": "<2"}, "context": "plain"},
    },
    "placement": [{"site": "here", "services": {"worker": {"desired": 2}}, "sizes": {"worker": "m1.big"}}],
}
CONTEXTS = {
    "web": Context.model_validate({"parameters": {"port": {"type": "integer"}}, "cloud_init": {"runcmd": [["serve", "${param.port}"]]}}),
    "plain": Context(),
    "needy": Context.model_validate({"cloud_init": {"x": "${self.address} ${service.master.address}"}}),
}


def images(*words: str) -> list[CloudImage]:
    return [CloudImage(id=f"i{number}", name=one, owner=OWNER, spec=spec(one)) for number, one in enumerate(words, 1)]


def plan(document: dict[str, Any], *words: str, machines: tuple[CloudMachine, ...] = (), **more: Any) -> ClusterPlan:
    options = {"images": images(*(words or ("debian-12 1", "worker 1"))), "contexts": CONTEXTS, "machines": machines, "owner": OWNER, **more}
    return plan_up(Cluster.model_validate(document), "here", **options)


def said(made: ClusterPlan) -> list[str]:
    return [f"{action.kind} {action.subject}" for action in made.plan.actions]


def running(made: ClusterPlan, **changes: Any) -> tuple[CloudMachine, ...]:
    """The machines as they are once the plan was carried out."""
    starts = [start for one in made.wanted.values() for start in one]
    found = [
        CloudMachine(f"m-{s.spec.name}", s.spec.name, "running", s.spec.image, OWNER, s.spec.cluster, s.spec.service, s.spec.generation)
        for s in starts
    ]
    return tuple(replace(machine, **changes) for machine in found)


def changed(document: dict[str, Any], service: str, **changes: Any) -> dict[str, Any]:
    services = {**document["services"], service: {**document["services"][service], **changes}}
    return {**document, "services": services}


def problems(document: dict[str, Any], *words: str, **more: Any) -> list[str]:
    with pytest.raises(Problems) as error:
        plan(document, *words, **more)
    assert all(problem.hint for problem in error.value.problems)
    return [f"{problem.place.field}: {problem.what}" for problem in error.value.problems]


def test_one_machine_starts_from_the_newest_image_that_fits() -> None:
    made = plan(DEMO, "debian-12 9", "debian-12 10", "worker 11")
    (start,) = made.plan.actions
    assert isinstance(start, StartMachine)
    assert (start.spec.name, start.spec.image, start.spec.ports, start.spec.service) == ("demo-web", "i2", (22,), "web")
    assert start.spec.user_data == f'{HEADER}runcmd:\n- - "serve"\n  - 80\n'
    assert "debian-12 10" in start.reason


def test_carried_out_the_plan_is_empty() -> None:
    for document in (DEMO, POOL):
        made = plan(document)
        assert said(plan(document, machines=running(made))) == []


def test_a_version_constraint_holds() -> None:
    made = plan(changed(DEMO, "web", appliance={"name": "debian-12", "version": ">=1, <3"}), "debian-12 1", "debian-12 2", "debian-12 3")
    assert made.wanted["web"][0].spec.image == "i2"


def test_services_start_after_those_they_wait_for() -> None:
    made = plan(POOL)
    assert said(made) == ["start pool-master", "start pool-worker-1", "start pool-worker-2"]
    assert [action.needs for action in made.plan.actions] == [(), ("start:pool-master",), ("start:pool-master",)]
    assert made.wanted["worker"][0].spec.flavour == "m1.big"


def test_a_machine_that_vanished_is_started_again_and_the_others_are_left_alone() -> None:
    there = running(plan(POOL))
    assert said(plan(POOL, machines=tuple(m for m in there if m.name != "pool-worker-1"))) == ["start pool-worker-1"]


def test_a_stopped_machine_is_started_again() -> None:
    made = plan(DEMO, machines=running(plan(DEMO), state="stopped"))
    assert (said(made), made.plan.actions[0].reason) == (["start demo-web"], "it is stopped")


def test_another_number_of_machines_replaces_none() -> None:
    there = running(plan(POOL))
    more = {**POOL, "placement": [{"site": "here"}]}
    assert said(plan(more, machines=there, replace=True)) == ["start pool-worker-3"]
    fewer = {**POOL, "placement": [{"site": "here", "services": {"worker": {"desired": 1}}}]}
    assert said(plan(fewer, machines=there, replace=True)) == ["stop pool-worker-2"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (changed(DEMO, "web", **{"with": {"port": 81}}), ("debian-12 1",)),
        (changed(DEMO, "web", size={"memory": "2GiB"}), ("debian-12 1",)),
        (DEMO, ("debian-12 1", "debian-12 2")),
    ],
    ids=["context", "size", "image"],
)
def test_a_machine_of_another_generation_is_left_alone_and_said_so_unless_replacing_is_asked_for(
    document: dict[str, Any], words: tuple[str, ...]
) -> None:
    there = running(plan(DEMO, "debian-12 1"))
    made = plan(document, *words, machines=there)
    assert said(made) == []
    assert "--replace" in made.notes[0].why
    replaced = plan(document, *words, machines=there, replace=True)
    assert said(replaced) == ["stop demo-web", "start demo-web"]
    assert replaced.plan.actions[1].needs == ("stop:demo-web",)


def test_another_image_id_or_key_with_the_same_bytes_is_the_same_generation() -> None:
    there = running(plan(DEMO, "debian-12 1"))
    elsewhere = [replace(images("debian-12 1")[0], id="other")]
    assert said(plan(DEMO, machines=there, images=elsewhere, public_keys=("ssh-ed25519 AAAA",))) == []


def test_keys_go_to_the_default_user_beside_those_of_the_context() -> None:
    contexts = {"web": Context.model_validate({"parameters": {"port": {"type": "integer"}}, "cloud_init": {"ssh_authorized_keys": ["ssh-rsa B"]}})}
    text = plan(DEMO, contexts=contexts, public_keys=("ssh-ed25519 A",)).wanted["web"][0].spec.user_data
    assert text == f'{HEADER}ssh_authorized_keys:\n- "ssh-rsa B"\n- "ssh-ed25519 A"\n'


def test_a_machine_that_has_to_say_so_gets_the_script_for_it() -> None:
    (start,) = plan(changed(DEMO, "web", ready={"console": True, "tcp": 8080})).wanted["web"]
    assert start.spec.ports == (22, 8080)
    assert "/dev/tcp/127.0.0.1/8080" in start.spec.user_data
    assert ready_mark(start.spec) in start.spec.user_data


def test_all_that_stands_in_the_way_is_told_at_once() -> None:
    document = {
        **POOL,
        "services": {
            **POOL["services"],
            "web": {"fixed": True, "appliance": {"name": "gone"}, "context": "plain"},
            "x_y": {"fixed": True, "appliance": {"name": "worker"}, "context": "absent", "size": {"disk": "1B"}},
            "needy": {"fixed": True, "appliance": {"name": "worker"}, "context": "needy"},
        },
    }
    assert problems(document) == [
        "cloud_init.x: ${self.address} has no value (used by service needy of clusters/pool.yaml)",
        "cloud_init.x: ${service.master.address} has no value (used by service needy of clusters/pool.yaml)",
        "services.web.appliance: no image of gone * may be used at here",
        "services.x_y.: x_y cannot be part of a host name",
        "services.x_y.context: there is no context absent",
        "services.x_y.size.disk: the image needs 4KiB",
    ]


def test_a_cluster_must_be_placed_at_the_site() -> None:
    assert problems({**DEMO, "placement": [{"site": "there"}]}) == ["placement: the cluster is not placed at here"]


def test_no_fitting_version_names_those_that_are_there() -> None:
    with pytest.raises(Problems) as error:
        plan(changed(DEMO, "web", appliance={"name": "debian-12", "version": ">5"}), "debian-12 1", "debian-12 2")
    assert error.value.problems[0].hint == "usable there: 1, 2"


def test_going_down_stops_the_clusters_own_machines_only() -> None:
    there = running(plan(POOL))
    others = (replace(there[0], id="x", owner="vmkeeper:elsewhere"), replace(there[0], id="y", cluster="demo"), replace(there[0], id="z", owner=None))
    made = plan_down("pool", (*there, *others), owner=OWNER)
    assert [action.subject for action in made.actions] == ["pool-master", "pool-worker-1", "pool-worker-2"]
    assert {action.machine for action in made.actions} == {machine.id for machine in there}  # type: ignore[attr-defined]


def test_machines_of_others_are_not_taken_for_ours() -> None:
    there = running(plan(DEMO), owner="vmkeeper:elsewhere")
    assert said(plan(DEMO, machines=there)) == ["start demo-web"]


def test_images_that_may_run() -> None:
    lists = [
        subscribed({"name": "main", "offers": []}),
        subscribed({"name": "other", "unusable": "x", "expires": "2026-11-20T09:00:00Z"}),
    ]
    allowed = standings({"a 1": "allowed", "a 2": {"withdrawn": "w"}})
    good = CloudImage(id="1", name="", owner=OWNER, spec=spec("a 1"))
    candidates = [
        good,
        replace(good, id="2", state="hidden", hidden_since=NOW),
        replace(good, id="3", state="incomplete"),
        replace(good, id="4", owner=None),
        replace(good, id="5", spec=spec("a 2")),
        replace(good, id="6", spec=spec("a 3")),
        replace(good, id="7", spec=spec("a 1", source="other")),
        replace(good, id="8", spec=spec("a 1", salt="other")),
        replace(good, id="9", spec=spec("a 1", expires=NOW)),
        replace(good, id="10", spec=spec("a 1", list=uuid_of("gone"))),
    ]
    assert runnable(candidates, lists, allowed, owner=OWNER, now=NOW) == (good,)
    assert runnable(candidates, lists, allowed, owner=OWNER, now=NOW + timedelta(days=400)) == ()


def test_sizes_are_those_asked_for() -> None:
    (start,) = plan(changed(DEMO, "web", size={"cpus": 3, "memory": "5GiB", "disk": "20GiB"})).wanted["web"]
    assert (start.spec.cpus, start.spec.memory, start.spec.disk) == (3, Size.parse("5GiB"), Size.parse("20GiB"))
