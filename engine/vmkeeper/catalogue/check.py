"""Everything that is wrong with a commit, at once: each document by itself, then what documents say of each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches

from vmkeeper.catalogue import attested, decided, trusted
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.inherit import definition
from vmkeeper.catalogue.locking import lock_request, request_inputs
from vmkeeper.documents.kinds import kind_of, misplaced
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.site import Site

FOLDERS = ("appliances", "imagelists", "endorsers", "sites", "clusters")
"""The folders whose files are ours to judge."""


def check(catalogue: Catalogue, now: datetime | None = None) -> tuple[Problem, ...]:
    """All problems of a commit, sorted by place; empty for a sound one. With `now`, endorser lists that lag behind their source are problems."""
    found: list[Problem] = []
    broken: set[str] = set()
    for folder in FOLDERS:
        found += catalogue.snapshot.problems(folder)
        for path, _ in catalogue.snapshot.walk(folder):
            problems = _document(catalogue, path)
            found += problems
            if problems:
                broken.add(path)
    for rule in (_appliances, _image_lists, _sites, _clusters, _contexts):
        found += rule(catalogue, broken)
    found += trusted.problems(catalogue, broken, now)
    return tuple(sorted(set(catalogue.located(found))))


def _document(catalogue: Catalogue, path: str) -> tuple[Problem, ...]:
    kind = kind_of(path)
    if kind is None:
        problem = misplaced(path)
        return (problem,) if problem else ()
    return catalogue.attempt(kind, path)[1]


def _appliances(catalogue: Catalogue, broken: set[str]) -> Iterator[Problem]:
    owners: dict[str, list[str]] = defaultdict(list)
    for name in catalogue.names("appliances"):
        if definition(name) in broken:
            continue
        appliance = catalogue.appliance(name)
        assert appliance is not None
        owners[appliance.uuid].append(name)
        try:
            catalogue.recipe(name)
        except Problems as error:  # those of broken documents were reported already
            yield from (problem for problem in error.problems if problem.place.file not in broken)
        else:
            yield from _stale_lock(catalogue, name)
        yield from _release(catalogue, name, appliance.uuid, broken)
        yield from attested.problems(catalogue, name, broken)
        yield from _tests(catalogue, name)
    for uuid, names in owners.items():
        for name in names[1:]:
            yield Problem(
                Place(definition(name), field="uuid"),
                f"{names[0]} bears {uuid} already",
                "make a new one: python3 -c 'import uuid; print(uuid.uuid4())'",
            )
    for entry in catalogue.snapshot.entries("appliances"):
        if entry.folder and not catalogue.snapshot.blob_id(definition(entry.name)):
            yield Problem(Place(f"appliances/{entry.name}"), "has no appliance.yaml", "add it, or remove the folder")


def _stale_lock(catalogue: Catalogue, name: str) -> Iterator[Problem]:
    request = lock_request(catalogue, name)
    lock = catalogue.lock(name)
    path = f"appliances/{name}/packages.lock"
    if request is None and lock is not None:
        yield Problem(Place(path), f"{name} adds no packages to its parent's, so it has nothing to lock", "remove the file")
    elif request is not None and lock is not None and lock.inputs != request_inputs(request):
        yield Problem(Place(path), "was made for other packages, archives or parents than these", f"make it again with: vmkeeper refresh {name}")


def _release(catalogue: Catalogue, name: str, uuid: str, broken: set[str]) -> Iterator[Problem]:
    path = f"appliances/{name}/release.yaml"
    if path in broken:
        return
    release = catalogue.release(name)
    if release is not None and (release.appliance, release.uuid) != (name, uuid):
        yield Problem(Place(path, field="uuid"), f"is the release of {release.appliance} {release.uuid}", "remove it: the next apply makes a new one")


def _tests(catalogue: Catalogue, name: str) -> Iterator[Problem]:
    for entry in catalogue.snapshot.entries(f"appliances/{name}/tests"):
        path = f"appliances/{name}/tests/{entry.name}"
        if entry.folder:
            yield Problem(Place(path), "a folder among the tests is not run", "put the test files straight into tests/")
        elif not entry.executable:
            yield Problem(Place(path), "a test must be executable", f"git update-index --chmod=+x {path}")


def _known(what: str, name: str, names: Iterable[str], place: Place, folder: str) -> Iterator[Problem]:
    listed = sorted(names)
    if name not in listed:
        near = get_close_matches(name, listed, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(listed[:20])}" if listed else f"{folder}/ holds none yet"
        yield Problem(place, f"there is no {what} {name}", hint)


def _image_lists(catalogue: Catalogue, broken: set[str]) -> Iterator[Problem]:
    uuids: dict[str, str] = {}
    appliances = catalogue.names("appliances")
    for name in catalogue.names("imagelists"):
        path = f"imagelists/{name}.yaml"
        if path in broken:
            continue
        listed = catalogue.image_list(name)
        assert listed is not None
        if (other := uuids.setdefault(listed.uuid, name)) != name:
            yield Problem(Place(path, field="uuid"), f"list {other} bears {listed.uuid} already", "make a new one")
        yield from _known("endorser list", listed.endorsed_by, catalogue.names("endorsers"), Place(path, field="endorsed_by"), "endorsers")
        seen: set[str] = set()
        for index, entry in enumerate(listed.appliances):
            place = Place(path, field=f"appliances[{index}].appliance")
            yield from _known("appliance", entry.appliance, appliances, place, "appliances")
            if entry.appliance in seen:
                yield Problem(place, f"{entry.appliance} is listed twice", "list it once")
            seen.add(entry.appliance)
            if definition(entry.appliance) not in broken and (appliance := catalogue.appliance(entry.appliance)) and appliance.abstract:
                yield Problem(place, f"{entry.appliance} is abstract, so there is no image to publish", "list an appliance that inherits from it")


def _sites(catalogue: Catalogue, broken: set[str]) -> Iterator[Problem]:
    for name in catalogue.names("sites"):
        if f"sites/{name}.yaml" not in broken and (site := catalogue.site(name)):
            yield from site_problems(catalogue, name, site)


def site_problems(catalogue: Catalogue, name: str, site: Site) -> Iterator[Problem]:
    """What is wrong with a sound site file beside the other documents of a commit. Places are fields, without lines."""
    path = f"sites/{name}.yaml"
    for index, subscription in enumerate(site.subscribe):
        yield from _known("image list", subscription.list, catalogue.names("imagelists"), Place(path, field=f"subscribe[{index}].list"), "imagelists")
    yield from decided.problems(catalogue, path, site)


def _foreign_lists(catalogue: Catalogue, broken: set[str], cluster: Cluster) -> tuple[str, ...]:
    """Lists of other organisations that a site takes where the cluster is placed."""
    names = [placement.site for placement in cluster.placement if f"sites/{placement.site}.yaml" not in broken]
    return tuple(one.name for name in names if (site := catalogue.site(name)) for one in site.foreign)


def _clusters(catalogue: Catalogue, broken: set[str]) -> Iterator[Problem]:
    for name in catalogue.names("clusters"):
        path = f"clusters/{name}.yaml"
        if path in broken or not (cluster := catalogue.cluster(name)):
            continue
        if cluster.name != name:
            yield Problem(Place(path, field="name"), f"is {cluster.name} in a file named {name}.yaml", f"write name: {name}, or rename the file")
        for index, placement in enumerate(cluster.placement):
            yield from _known("site", placement.site, catalogue.names("sites"), Place(path, field=f"placement[{index}].site"), "sites")
        lists = _foreign_lists(catalogue, broken, cluster)
        for service_name, service in cluster.services.items():
            place = f"services.{service_name}"
            wanted = service.appliance.name
            if not any(wanted.startswith(f"{one}-") for one in lists):
                yield from _known("appliance", wanted, catalogue.names("appliances"), Place(path, field=f"{place}.appliance.name"), "appliances")
            yield from _known(
                "context", service.context, catalogue.names("clusters/contexts"), Place(path, field=f"{place}.context"), "clusters/contexts"
            )


def _contexts(catalogue: Catalogue, broken: set[str]) -> Iterator[Problem]:
    for name in catalogue.names("clusters/contexts"):
        chain, current = [name], name
        while f"clusters/contexts/{current}.yaml" not in broken and (context := catalogue.context(current)) and context.extends:
            place = Place(f"clusters/contexts/{current}.yaml", field="extends")
            unknown = list(_known("context", context.extends, catalogue.names("clusters/contexts"), place, "clusters/contexts"))
            if current == name:
                yield from unknown
            if context.extends in chain:
                if context.extends == name:
                    yield Problem(
                        place,
                        f"contexts extend one another in a circle: {' → '.join([*chain, name])}",
                        "let one of them extend something else, or nothing",
                    )
                break
            if unknown:
                break
            current = context.extends
            chain.append(current)
