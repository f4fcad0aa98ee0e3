"""What all documents share, and what each model checks across its own fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vmkeeper.documents.examples import EXAMPLES
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.documents.words import parts
from vmkeeper.model.appliance import Appliance, Archive, Distribution, plain_parts
from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.endorser import Base, Endorser, EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.keys import Compromise, X509Key
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.policy import Builder, Freshness, Policy
from vmkeeper.model.recipe import BuilderVersion, Content, FileStep, Layer, Recipe, layer_keys
from vmkeeper.values import Duration, parse_time

SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBiMzJeWUm4yXQ0Bvq5cmvOZ3zjJDeyaTyQQjUFEm1XM"
UUID = "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11"


def example(kind: str) -> Any:
    return load(KINDS[kind], EXAMPLES[kind].encode(), "example")


def wrong(model: type[Document], value: dict[str, Any]) -> Inconsistent:
    """The one inconsistency that a model finds."""
    with pytest.raises(ValidationError) as raised:
        model.model_validate(value)
    (error,) = raised.value.errors()
    found = error["ctx"]["error"]
    assert isinstance(found, Inconsistent)
    assert found.hint
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_documents_never_change_and_take_no_unknown_keys(kind: str) -> None:
    document = example(kind)
    key = next(iter(type(document).model_fields))
    with pytest.raises(ValidationError):
        setattr(document, key, "x")
    for model in parts(KINDS[kind].model):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate({"no_such_key": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_documents_survive_json(kind: str) -> None:
    document = example(kind)
    assert type(document).model_validate_json(document.model_dump_json(by_alias=True)) == document
    assert type(document).model_validate_json(document.model_dump_json(by_alias=True, exclude_unset=True)) == document


@given(st.lists(st.integers(0, 5), max_size=8))
def test_the_first_repetition_is_found(items: list[int]) -> None:
    index = repeated(items)
    if index is None:
        assert len(set(items)) == len(items)
    else:
        assert items[index] in items[:index]
        assert len(set(items[:index])) == index


@pytest.mark.parametrize("path", ["/a/b", "a/b", "/a", "a", "/a.b/..c", "...", "a b/c"])
def test_plain_paths(path: str) -> None:
    assert plain_parts(path) == path


@pytest.mark.parametrize("path", ["/", "", "a//b", "//a", "a/", "./a", "a/./b", "..", "/..", "a/../b", "a/.."])
def test_paths_that_go_elsewhere(path: str) -> None:
    with pytest.raises(ValueError, match="has an empty part"):
        plain_parts(path)


@pytest.mark.parametrize("uri", ["http://deb.debian.org/debian", "https://a.b:8080/c/", "http://127.0.0.1:3142/debian", "http://a"])
def test_addresses_of_archives(uri: str) -> None:
    assert Archive(name="a", uri=uri, suite="x").uri == uri


@pytest.mark.parametrize(
    "uri",
    ["", "a", "ftp://a", "http://", "http://u@a/", "http://a/?q", "http://a/#f", "http://a b", "http://a/\n", "http://a//b", "file:///x", "HTTP://a"],
)
def test_what_is_no_address_of_an_archive(uri: str) -> None:
    with pytest.raises(ValidationError):
        Archive(name="a", uri=uri, suite="x")


def test_items_of_an_appliance_are_named_once() -> None:
    base = {"uuid": UUID, "title": "x"}
    motd = {"name": "a", "path": "/a", "source": "a"}
    assert wrong(Appliance, {**base, "files": [motd, motd]}).path == ("files", 1, "name")
    assert wrong(Appliance, {**base, "provision": [{"name": "a", "script": "a"}] * 2}).path == ("provision", 1, "name")
    assert wrong(Appliance, {**base, "services": [{"name": "a.service"}] * 2}).path == ("services", 1, "name")
    assert wrong(Appliance, {**base, "packages": ["aa", "bb", "aa"]}).path == (2,)
    archive = {"name": "a", "uri": "http://a", "suite": "x"}
    assert wrong(Appliance, {**base, "distribution": {"archives": [archive, archive]}}).path == ("distribution", "archives", 1, "name")


def test_an_appliance_may_leave_nearly_everything_to_its_parent() -> None:
    bare = Appliance(uuid=UUID, title="x", inherits="y")
    assert (bare.architecture, bare.distribution, bare.disk.size, bare.formats, bare.packages) == (None, Distribution(), None, (), ())


def service(**more: Any) -> dict[str, Any]:
    return {"appliance": {"name": "a"}, "context": "c", **more}


def cluster(services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "x", "services": services, **more}


def test_a_service_is_either_fixed_or_scaled() -> None:
    scale = {"max": 2, "desired": 1}
    assert "neither" in wrong(Cluster, cluster({"a": service()})).what
    assert wrong(Cluster, cluster({"a": service(fixed=True, scale=scale)})).path == ("scale",)
    assert wrong(Cluster, cluster({"a": service(fixed=True, autoscale={"source": "slurm"})})).path == ("autoscale",)
    assert Cluster.model_validate(cluster({"a": service(scale=scale), "b": service(fixed=True)}))


@pytest.mark.parametrize("scale", [{"min": 2, "max": 3, "desired": 1}, {"max": 3, "desired": 4}, {"min": 3, "max": 2, "desired": 2}])
def test_the_desired_number_lies_between_the_bounds(scale: dict[str, int]) -> None:
    assert wrong(Cluster, cluster({"a": service(scale=scale)})).path == ("desired",)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef")), min_size=1))
def test_services_start_in_some_order_or_the_circle_is_named(after: dict[str, set[str]]) -> None:
    value = cluster({name: service(fixed=True, after=sorted(earlier)) for name, earlier in after.items()})
    unknown = any(earlier - set(after) or name in earlier for name, earlier in after.items())
    order: list[str] = []
    while ready := [name for name, earlier in after.items() if name not in order and earlier <= set(order)]:
        order += ready
    if not unknown and len(order) == len(after):
        Cluster.model_validate(value)
    else:
        found = wrong(Cluster, value)
        assert found.path[0] == "services"
        assert ("another service" in found.what) == unknown


def test_the_parameters_key_is_with() -> None:
    value = cluster({"a": service(fixed=True, **{"with": {"x": "1", "y": 2, "z": True}})})
    assert Cluster.model_validate(value).services["a"].values == {"x": "1", "y": 2, "z": True}
    with pytest.raises(ValidationError):
        Cluster.model_validate(cluster({"a": service(fixed=True, values={"x": "1"})}))


def test_what_a_cluster_names_is_there() -> None:
    good = {"a": service(fixed=True)}
    assert wrong(Cluster, cluster(good, update={"order": ["a", "b"]})).path == ("update", "order", 1)
    assert wrong(Cluster, cluster(good, placement=[{"site": "s", "sizes": {"b": "x"}}])).path == ("placement", 0, "sizes", "b")
    assert wrong(Cluster, cluster(good, placement=[{"site": "s", "services": {"b": {}}}])).path == ("placement", 0, "services", "b")
    assert wrong(Cluster, cluster(good, placement=[{"site": "s"}, {"site": "s"}])).path == ("placement", 1, "site")


def endorser(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "full_name": "x",
        "email": "a@b",
        "keys": [{"type": "openpgp", "fingerprint": key * 40, "file": f"keys/{name}.asc"}],
        **more,
    }


def endorsers(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"title": "x", "community": "y", "policy": "z", "endorsers": list(items), **more}


def test_a_name_and_a_key_belong_to_one_endorser() -> None:
    assert EndorserList.model_validate(endorsers(endorser("a", "A"), endorser("b", "B"), quorum=2))
    assert wrong(EndorserList, endorsers(endorser("a", "A"), endorser("a", "B"))).path == ("endorsers", 1, "name")
    assert wrong(EndorserList, endorsers(endorser("a", "A"), endorser("b", "A"))).path == ("endorsers", 1, "keys", 0)


def test_the_same_key_under_another_file_name_is_the_same_key() -> None:
    first, second = endorser("a", "A"), endorser("b", "A")
    second["keys"][0]["file"] = "keys/other.asc"
    assert wrong(EndorserList, endorsers(first, second)).path == ("endorsers", 1, "keys", 0)


def test_a_quorum_can_be_reached() -> None:
    assert wrong(EndorserList, endorsers(endorser("a", "A"), quorum=2)).path == ("quorum",)
    assert EndorserList.model_validate(endorsers(quorum=3)).endorsers == ()


def test_rebuilds_can_be_reached() -> None:
    assert wrong(EndorserList, endorsers(endorser("a", "A"), rebuilds=2)).path == ("rebuilds",)
    assert EndorserList.model_validate(endorsers(endorser("a", "A"), rebuilds=1)).rebuilds == 1
    assert EndorserList.model_validate(endorsers(rebuilds=3)).rebuilds == 3


def test_a_list_of_this_repository_is_not_synchronised() -> None:
    position = {"policy": 1, "list": "a" * 128, "at": "2026-01-01T00:00:00Z"}
    assert wrong(Base, {"list": "a", "synchronised": position}).path == ("synchronised",)
    made = Base.model_validate({"list": "a", "source": "b", "synchronised": position})
    assert (made.maximum_lag, made.synchronised and made.synchronised.policy) == (Duration.parse("7d"), 1)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"type": "openpgp", "fingerprint": "A" * 40, "file": "a"}, {"type": "openpgp", "fingerprint": "A" * 40, "file": "b"}, True),
        ({"type": "openpgp", "fingerprint": "A" * 40, "file": "a"}, {"type": "openpgp", "fingerprint": "B" * 40, "file": "a"}, False),
        ({"type": "ssh", "key": SSH}, {"type": "ssh", "key": SSH, "retired": "2026-01-01T00:00:00Z"}, True),
        ({"type": "ssh", "key": SSH}, {"type": "ssh", "key": SSH.replace("IBiM", "IBiN")}, False),
        (
            {"type": "x509", "subject": "/CN=a", "issuer": "/CN=b"},
            {"type": "x509", "subject": "/CN=a", "issuer": "/CN=b", "certificate": "a" * 64},
            True,
        ),
        ({"type": "x509", "subject": "/CN=a", "issuer": "/CN=b"}, {"type": "x509", "subject": "/CN=a", "issuer": "/CN=c"}, False),
        ({"type": "x509", "subject": "/CN=a /CN=b", "issuer": "/CN=c"}, {"type": "x509", "subject": "/CN=a", "issuer": "/CN=b /CN=c"}, False),
    ],
)
def test_what_makes_two_entries_one_key(first: dict[str, Any], second: dict[str, Any], same: bool) -> None:
    value = endorsers({**endorser("a", "C"), "keys": [first]}, {**endorser("b", "D"), "keys": [second]})
    if same:
        assert wrong(EndorserList, value).path == ("endorsers", 1, "keys", 0)
    else:
        assert len(EndorserList.model_validate(value).endorsers) == 2


@pytest.mark.parametrize("dn", ["/CN=a", "/DC=org/DC=example/CN=Alice Example", "/O=CERN/CN=host/a.example.org", "/1.2.3=x"])
def test_distinguished_names(dn: str) -> None:
    assert X509Key(type="x509", subject=dn, issuer="/CN=CA").subject == dn


@pytest.mark.parametrize("dn", ["", "CN=a", "/", "/CN=", "/=a", "/CN=\u00e9", "/CN=a\n", "a/CN=b", "/CN=\x1b[31m"])
def test_what_is_no_distinguished_name(dn: str) -> None:
    with pytest.raises(ValidationError):
        X509Key(type="x509", subject=dn, issuer="/CN=CA")


def principal(name: str, key: str) -> dict[str, Any]:
    return endorser(name, key)


def policy(*people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"title": "x", "quorum": 1, "principals": list(people), **more}


def builder(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "id": "https://ci.example.org/b", "keys": endorser(name, key)["keys"]}


def test_a_name_and_a_key_belong_to_one_principal_or_builder() -> None:
    assert Policy.model_validate(policy(principal("a", "A"), principal("b", "B"), builders=[builder("c", "C")], quorum=2))
    assert wrong(Policy, policy(principal("a", "A"), principal("a", "B"))).path == ("principals", 1, "name")
    assert wrong(Policy, policy(principal("a", "A"), principal("b", "A"))).path == ("principals", 1, "keys", 0)
    assert wrong(Policy, policy(principal("a", "A"), builders=[builder("b", "B"), builder("b", "C")])).path == ("builders", 1, "name")
    assert wrong(Policy, policy(principal("a", "A"), builders=[builder("a", "B")])).path == ("builders", 0, "name")
    assert wrong(Policy, policy(principal("a", "A"), builders=[builder("b", "B"), builder("c", "A")])).path == ("builders", 1, "keys", 0)


def test_a_policy_s_quorum_and_freshness_can_be_reached() -> None:
    assert wrong(Policy, policy(principal("a", "A"), quorum=2)).path == ("quorum",)
    assert wrong(Policy, policy(principal("a", "A"), freshness={"signers": ["c"]})).path == ("freshness", "signers", 0)
    both = policy(principal("a", "A"), builders=[builder("c", "C")], freshness={"signers": ["c", "d"]})
    assert wrong(Policy, both).path == ("freshness", "signers", 1)
    made = Policy.model_validate(policy(principal("a", "A"), builders=[builder("c", "C")], freshness={"signers": ["c"]}))
    assert made.freshness is not None
    assert made.freshness.maximum_validity == Duration.parse("48h")


@pytest.mark.parametrize(("validity", "fits"), [("24h", True), ("72h", True), ("86399s", False), ("3d1s", False)])
def test_a_statement_of_freshness_is_valid_for_one_to_three_days(validity: str, fits: bool) -> None:
    if fits:
        assert Freshness.model_validate({"signers": ["c"], "maximum_validity": validity}).maximum_validity == Duration.parse(validity)
    else:
        with pytest.raises(ValidationError):
            Freshness.model_validate({"signers": ["c"], "maximum_validity": validity})


@pytest.mark.parametrize(
    ("uri", "fits"), [("https://ci.example.org/b@v1?x#y", True), ("http://a", True), ("ftp://a", False), ("https://a b", False), ("https://", False)]
)
def test_a_builder_s_id_is_a_uri(uri: str, fits: bool) -> None:
    value = {**builder("c", "C"), "id": uri}
    if fits:
        assert Builder.model_validate(value).id == uri
    else:
        with pytest.raises(ValidationError):
            Builder.model_validate(value)


def test_a_place_in_a_chain_is_a_serial() -> None:
    assert (Compromise().serial, Compromise().sha512) == (0, None)
    for serial in (-1, 2**53):
        with pytest.raises(ValidationError):
            Compromise(serial=serial)


def test_an_endorser_s_time_is_not_over_before_it_begins() -> None:
    times = {"not_before": "2026-01-02T00:00:00Z", "expires": "2026-01-01T00:00:00Z"}
    assert wrong(Endorser, endorser("a", "A", **times)).path == ("expires",)


def test_an_image_list_is_renewed_before_it_ends_and_lists_each_once() -> None:
    value = example("imagelist").model_dump(mode="json")
    assert wrong(ImageList, {**value, "lifetime": "7d"}).path == ("renew_before",)
    assert wrong(ImageList, {**value, "appliances": [{"appliance": "a"}, {"appliance": "b"}, {"appliance": "a"}]}).path == (
        "appliances",
        2,
        "appliance",
    )


def test_a_lock_has_each_package_and_archive_once() -> None:
    value = example("lock").model_dump(mode="json")
    assert wrong(PackagesLock, {**value, "packages": value["packages"] + value["packages"][:1]}).path == ("packages", 2, "name")
    assert wrong(PackagesLock, {**value, "archives": value["archives"] * 2}).path == ("archives", 1, "name")


@pytest.mark.parametrize("path", ["../x.deb", "pool/../../x.deb", "/pool/x.deb", "pool//x.deb", "pool/./x.deb", "pool/x y.deb", "pool/x.deb?y", ""])
def test_a_locked_package_s_path_stays_in_the_archive(path: str) -> None:
    value = example("lock").model_dump(mode="json")
    value["packages"][0]["path"] = path
    with pytest.raises(ValidationError):
        PackagesLock.model_validate(value)


def test_a_file_s_format_is_a_number() -> None:
    value = example("lock").model_dump(mode="json")
    for version in (2, "1", True, None):
        with pytest.raises(ValidationError):
            PackagesLock.model_validate({**value, "version": version})


CONTENT = Content(sha256="a" * 64, appliance="base", path="files/motd")
LAYER = Layer(
    appliance="base", architecture="x86_64", release="bookworm", archives=(), requested=("bash",), packages=(),
    services=(), scripts=(),
    files=(FileStep(path="/etc/motd", mode="0644", owner="root", group="root", content=CONTENT),),
    date=parse_time("2026-11-20T00:00:00Z"),
)  # fmt: skip


def recipe(layer: Layer = LAYER) -> Recipe:
    whole = example("appliance")
    return Recipe(
        appliance="base", uuid=UUID, builder=BuilderVersion(name="debian", version=1), architecture="x86_64", layers=(layer,),
        users=whole.users, disk=whole.disk, formats=("qcow2",),
    )  # fmt: skip


def moved(layer: Layer) -> Layer:
    content = layer.files[0].content.model_copy(update={"appliance": "elsewhere", "path": "files/other"})
    return layer.model_copy(update={"appliance": "renamed", "files": (layer.files[0].model_copy(update={"content": content}),)})


def test_where_a_file_was_found_is_no_part_of_the_digest() -> None:
    assert recipe().digest() == recipe(moved(LAYER)).digest()
    assert layer_keys((LAYER,), recipe().builder) == layer_keys((moved(LAYER),), recipe().builder)


@pytest.mark.parametrize(
    "change",
    [
        {"release": "trixie"},
        {"requested": ("bash", "dash")},
        {"files": ()},
        {"date": parse_time("2026-11-21T00:00:00Z")},
        {"architecture": "aarch64"},
    ],
)
def test_what_decides_the_bytes_is_part_of_the_digest(change: dict[str, Any]) -> None:
    other = LAYER.model_copy(update=change)
    assert recipe(other).digest() != recipe().digest()
    assert layer_keys((other,), recipe().builder) != layer_keys((LAYER,), recipe().builder)


def test_a_layer_s_key_covers_the_layers_below_it_and_the_builder() -> None:
    upper = LAYER.model_copy(update={"requested": ("curl",)})
    first, second = layer_keys((LAYER, upper), recipe().builder)
    assert first == layer_keys((LAYER,), recipe().builder)[0]
    assert second not in (first, layer_keys((upper,), recipe().builder)[0])
    newer = BuilderVersion(name="debian", version=2)
    assert not set(layer_keys((LAYER, upper), newer)) & {first, second}
