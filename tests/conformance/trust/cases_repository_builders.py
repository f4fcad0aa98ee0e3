"""Provenance and independent rebuilds (R31), and lists that are based on others (R4, R5, R10, R12, R13)."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

from conformance.trust.builds import built, with_builder
from conformance.trust.case import Case
from conformance.trust.cases_repository_quorum import community
from conformance.trust.forge import Json, World, document, person, release, sha512, utc
from conformance.trust.signers import ISSUED, NOW
from conformance.trust.worlds import ALICE, BASE, CI, MALLORY, V2, V3, Change, accepts, base, listed, new, refuses, v1, v2, w1

NEWEST = ("debian-12", "2026.5.6.7")
"""V3, by name and version."""
START = with_builder()


def made(**how: Any) -> Change:
    """V3 with provenance of some kind, endorsed by alice."""
    return lambda world: world.endorse("alice", built(world, *NEWEST, **how))


def forged(name: str, rule: str = "R31", **how: Any) -> Case:
    return refuses(name, rule, made(**how), start=START, release=V3, stands=BASE)


def said(*path: str | int, value: object) -> Any:
    """A statement in which one field says something else."""

    def edit(statement: Json) -> Json:
        changed = deepcopy(statement)
        inner: Any = changed
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        return changed

    return edit


EXTERNAL = ("predicate", "buildDefinition", "externalParameters")
RUN = ("predicate", "runDetails")


def _two_builders(**fields: Any) -> Change:
    """The policy has a second builder, cj, with mallory's key."""
    other = {"name": "cj", "id": "https://cj.example.org/build", "keys": [MALLORY.listed], **fields}

    def start(world: World) -> None:
        START(world)
        world.documents["policy"]["builders"].append(other)
        world.next_policy("anna", "dora")

    return start


def _two_signatures(envelope_: Json) -> Json:
    return {**envelope_, "signatures": envelope_["signatures"] * 2}


def _old_provenance(world: World) -> None:
    """V3 carries the provenance of V2."""
    folder = "appliances/debian-12"
    old = world.trees[world.line[-2]][f"{folder}/provenance.json"][1]
    commit = world.commit({f"{folder}/release.yaml": document(release(*NEWEST)), f"{folder}/provenance.json": old})
    world.endorse("alice", commit)


def _swapped_later(world: World) -> None:
    """The provenance beside the record is another one than was endorsed."""
    commit = built(world, *NEWEST)
    world.endorse("alice", commit, provenance=sha512(b"another"))


def _without(world: World) -> None:
    world.commit({"appliances/debian-12/provenance.json": None})
    world.endorse("alice", new(world))


def _builder_endorses(world: World) -> None:
    world.endorse("ci", built(world, *NEWEST))


def _builder_is_lost(world: World) -> None:
    """Policy 3 says that others may have the builder's key."""
    marked = CI.marked(compromised_since={"serial": 0})
    world.documents["policy"]["builders"][0]["keys"] = [marked.listed]
    world.next_policy("anna", "dora")


def _builder_is_revoked(world: World) -> None:
    world.revoke("ci", CI.id, "anna")


def _builder_retired(hours: int) -> Change:
    def change(world: World) -> None:
        world.endorse("alice", built(world, *NEWEST))
        world.documents["policy"]["builders"][0]["keys"] = [CI.marked(retired=utc(ISSUED + timedelta(hours=hours))).listed, MALLORY.listed]
        world.next_policy("anna", "dora")

    return change


def rebuilt(*names: str, honest: tuple[str, ...] = ()) -> Change:
    """V3 is endorsed by `honest` without, and by the others with a rebuild."""

    def change(world: World) -> None:
        commit = new(world)
        for name in honest:
            world.endorse(name, commit)
        for name in names:
            world.endorse(name, commit, rebuilt=True)

    return change


REBUILDERS = community(2, 2, "alice", "carol", rebuilt=True)

# Lists that are based on others


def _endorsed_again(world: World) -> None:
    """Under a list that is new, everything is endorsed again."""
    world.pins["endorsers"] = ["local"]
    for name, commit, appliance in (("alice", v1(world), "debian-12"), ("alice", v2(world), "debian-12"), ("erin", w1(world), "alma-9")):
        world.endorse(name, commit, appliance)


def derived(**fields: Any) -> Change:
    """The base with a list local, based on science, which alone counts; `fields` change it."""

    def start(world: World) -> None:
        base(world)
        members = deepcopy([one for one in world.documents["science"]["endorsers"] if one["name"] in ("alice", "erin")])
        change = fields.get("change", lambda _: None)
        made = {**listed("science", *members), "based_on": {"list": "science"}, **{name: value for name, value in fields.items() if name != "change"}}
        change(made)
        world.documents["local"] = made
        world.next_policy("anna", "dora")
        _endorsed_again(world)

    return start


def beyond(name: str, rule: str, **fields: Any) -> Case:
    """A derived list that goes beyond its source: nothing that rests on it is accepted."""
    return refuses(name, rule, lambda _: None, start=derived(**fields), release=V2)


def _source_drops(name: str) -> Change:
    """The source drops somebody in the next policy, the derived list does not."""

    def change(world: World) -> None:
        world.documents["science"]["endorsers"] = [one for one in world.documents["science"]["endorsers"] if one["name"] != name]
        world.next_policy("anna", "dora")

    return change


def _source_retires(world: World) -> None:
    world.documents["science"]["endorsers"][0]["keys"] = [ALICE.marked(retired=utc(NOW - timedelta(hours=1))).listed]
    world.next_policy("anna", "dora")


def _remote(lag: timedelta, *, digest: str = "") -> Change:
    """A list based on one of another repository, which was last looked at that long ago."""

    def start(world: World) -> None:
        base(world)
        source = document(world.documents["science"])
        at = {"policy": 1, "list": digest or sha512(source), "at": utc(NOW - lag)}
        members = [one for one in world.documents["science"]["endorsers"] if one["name"] in ("alice", "erin")]
        based = {"list": "science", "source": "upstream", "synchronised": at, "maximum_lag": "7d"}
        world.documents["local"] = {**listed("science", *members), "based_on": based}
        world.key_files["sources/upstream/list.yaml"] = source
        for path in tuple(world.key_files):
            if path.startswith("keys/"):
                world.key_files[f"sources/upstream/{path}"] = world.key_files[path]
        world.next_policy("anna", "dora")
        _endorsed_again(world)

    return start


def _narrow(world: World) -> None:
    """The source narrows alice's scope, the derived list does not."""
    world.documents["science"]["endorsers"][0]["scope"] = {"appliances": ["debian-12"]}
    world.next_policy("anna", "dora")


def _circle(world: World) -> None:
    derived()(world)
    world.documents["science"]["based_on"] = {"list": "local"}
    world.next_policy("anna", "dora")


CASES: list[Case] = [
    accepts("with-provenance", "R31", made(), start=START),
    accepts(
        "by-either-of-two-builders",
        "R31",
        made(by=MALLORY, edit=said(*RUN, "builder", "id", value="https://cj.example.org/build")),
        start=_two_builders(),
    ),
    accepts("a-builder-s-key-is-retired-after-the-build", "R31", _builder_retired(1), start=START),
    refuses("without-provenance", "R31", _without, start=START, release=V3, stands=BASE),
    forged("signed-by-a-stranger", by=MALLORY),
    forged("signed-by-an-endorser", by=ALICE),
    forged("in-the-builder-s-name-by-a-stranger", "R10", by=MALLORY, keyid=CI.id),
    forged("the-wrong-builder-id", edit=said(*RUN, "builder", "id", value="https://cj.example.org/build")),
    refuses(
        "one-builder-in-the-name-of-another",
        "R31",
        made(edit=said(*RUN, "builder", "id", value="https://cj.example.org/build")),
        start=_two_builders(),
        release=V3,
        stands=BASE,
    ),
    forged("an-unknown-external-parameter", edit=said(*EXTERNAL, "debug", value=True)),
    forged("an-unknown-internal-parameter", edit=said("predicate", "buildDefinition", "internalParameters", "flags", value="-x")),
    forged("an-unknown-field-of-the-run", edit=said(*RUN, "byproducts", value=[])),
    forged("another-build-type", edit=said("predicate", "buildDefinition", "buildType", value="https://example.org/build/v1")),
    forged("another-predicate-type", edit=said("predicateType", value="https://slsa.dev/provenance/v0.2")),
    forged("another-repository", edit=said(*EXTERNAL, "repository", value="e" * 40)),
    forged(
        "another-commit",
        edit=lambda statement: said(*EXTERNAL, "commit", value="e" * 40)(
            said("predicate", "buildDefinition", "resolvedDependencies", value=[{"name": "source", "digest": {"gitCommit": "e" * 40}}])(statement)
        ),
    ),
    forged("another-recipe", edit=said(*EXTERNAL, "recipe", value="e" * 64)),
    forged("another-version", edit=said(*EXTERNAL, "version", value="1")),
    forged("another-appliance", edit=said(*EXTERNAL, "appliance", value="alma-9")),
    forged("another-image", edit=said("subject", 1, "digest", value={"sha512": "e" * 128})),
    forged("an-image-less", edit=lambda statement: {**statement, "subject": statement["subject"][:-1]}),
    forged("an-undeclared-dependency", edit=said("predicate", "buildDefinition", "resolvedDependencies", 0, "name", value="other")),
    forged("two-signatures", wrapped=_two_signatures),
    forged("no-signature", wrapped=lambda value: {**value, "signatures": []}),
    forged("another-payload-type", wrapped=lambda value: {**value, "payloadType": "text/plain"}),
    forged("a-field-beside-the-signature", wrapped=lambda value: {**value, "unsigned": 1}),
    forged("indented", "R32", written=document),
    forged("a-payload-with-a-key-twice", "R22", payload=lambda data: data.replace(b'"_type"', b'"_type":"x","_type"', 1)),
    forged("built-in-the-future", "R13", edit=said(*RUN, "metadata", "finishedOn", value=utc(NOW + timedelta(hours=1)))),
    refuses("the-provenance-of-another-version", "R31", _old_provenance, start=START, release=V3, stands=BASE),
    refuses("other-provenance-than-was-endorsed", "R14", _swapped_later, start=START, release=V3, stands=BASE),
    refuses("a-builder-cannot-endorse", "R10", _builder_endorses, start=START, release=V3, stands=BASE),
    refuses("a-builder-s-key-was-retired-before-the-build", "R12", _builder_retired(-1), start=START, release=V3),
    refuses("others-may-have-the-builder-s-key", "R12", _builder_is_lost, start=START),
    refuses("the-builder-s-key-is-revoked", "R12", _builder_is_revoked, start=START),
    # Rebuilds
    accepts("as-many-rebuilders-as-the-list-asks-for", "R31", rebuilt("alice", "carol"), start=REBUILDERS),
    accepts("one-endorses-and-two-rebuild", "R31", rebuilt("alice", "carol", honest=("bob",)), start=REBUILDERS),
    refuses("one-rebuilder-where-two-must", "R31", rebuilt("alice", honest=("carol",)), start=REBUILDERS, release=V3, stands=BASE),
    refuses("nobody-has-rebuilt", "R31", rebuilt(honest=("alice", "carol")), start=REBUILDERS, release=V3, stands=BASE),
    # Derived lists
    accepts("in-step-with-the-list-it-is-based-on", "R12", start=derived()),
    accepts("a-derived-list-asks-for-more", "R5", start=derived(criteria=["Tested here."], maximum_lifetime="60d")),
    accepts("a-remote-source-looked-at-yesterday", "R13", start=_remote(timedelta(days=1))),
    beyond("a-derived-list-with-somebody-more", "R12", change=lambda made: made["endorsers"].append(person("mallory", MALLORY))),
    beyond("a-derived-list-with-another-key", "R12", change=lambda made: made["endorsers"][0].update(keys=[ALICE.listed, MALLORY.listed])),
    beyond("a-derived-list-with-a-longer-lifetime", "R13", maximum_lifetime="91d"),
    beyond("a-derived-list-of-a-list-that-is-not-there", "R4", based_on={"list": "arts"}),
    refuses("a-derived-list-with-a-wider-scope", "R10", _narrow, start=derived(), release=V2),
    refuses("a-derived-list-keeps-whom-the-source-dropped", "R12", _source_drops("erin"), start=derived(), release=V2),
    refuses("a-derived-list-keeps-a-key-that-the-source-retired", "R12", _source_retires, start=derived(), release=V2),
    refuses("lists-that-are-based-on-each-other", "R5", lambda _: None, start=_circle, release=V2),
    refuses("a-remote-source-not-looked-at-for-too-long", "R13", lambda _: None, start=_remote(timedelta(days=8))),
    refuses("a-remote-source-looked-at-in-the-future", "R13", lambda _: None, start=_remote(timedelta(hours=-1))),
    refuses("a-remote-source-that-is-not-what-was-taken", "R13", lambda _: None, start=_remote(timedelta(days=1), digest="0" * 128)),
]
