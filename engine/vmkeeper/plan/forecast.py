"""What a change will bring about beyond the factory: endorsements awaited, lists, sites and clusters that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar, TypeVar

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.inherit import definition
from vmkeeper.errors import Problems
from vmkeeper.plan.actions import Action, Cause

T = TypeVar("T")


class Foretold(Action):
    """Somebody else's step that follows from this plan; `who` takes it."""

    foretold: ClassVar[bool] = True
    who: ClassVar[str]


class EnactPolicy(Foretold):
    """Principals sign what endorsers/ says; until then nothing of it counts."""

    kind: ClassVar[str] = "enact"
    who: ClassVar[str] = "principal"


class AwaitEndorsement(Foretold):
    """An endorser answers for the release."""

    kind: ClassVar[str] = "endorse"
    who: ClassVar[str] = "endorser"


class PublishList(Foretold):
    """The image list names the new release once it is endorsed."""

    kind: ClassVar[str] = "publish"
    who: ClassVar[str] = "publisher"


class RegisterImage(Foretold):
    """The site takes the new version in."""

    kind: ClassVar[str] = "register"
    who: ClassVar[str] = "site"


class ReplaceMachines(Foretold):
    """The cluster's machines roll to the new version."""

    kind: ClassVar[str] = "replace"
    who: ClassVar[str] = "cluster"


class WithdrawFromList(Foretold):
    """The image list no longer names the appliance."""

    kind: ClassVar[str] = "unlist"
    destroys: ClassVar[bool] = True
    who: ClassVar[str] = "publisher"


class HideImage(Foretold):
    """The site hides the appliance's images, and deletes them after the grace period."""

    kind: ClassVar[str] = "hide"
    destroys: ClassVar[bool] = True
    who: ClassVar[str] = "site"


class BreakCluster(Foretold):
    """The cluster can no longer start machines of a service."""

    kind: ClassVar[str] = "stop"
    destroys: ClassVar[bool] = True
    who: ClassVar[str] = "cluster"


@dataclass(slots=True)
class Uses:
    """Who uses an appliance: image lists, sites that take those lists, clusters with placement."""

    lists: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)


def uses(catalogue: Catalogue, names: Iterable[str]) -> Mapping[str, Uses]:
    """Who uses each of `names` at this commit. Documents that cannot be read are left to `check`."""
    found = {name: Uses() for name in names}
    for name in catalogue.names("imagelists"):
        listed = _read(lambda name=name: catalogue.image_list(name))  # type: ignore[misc]
        for entry in listed.appliances if listed else ():
            if entry.appliance in found:
                found[entry.appliance].lists.append(name)
    for name in catalogue.names("sites"):
        site = _read(lambda name=name: catalogue.site(name))  # type: ignore[misc]
        for appliance, use in found.items() if site else ():
            assert site is not None
            taken = {s.list for s in site.subscribe if s.list in use.lists and any(fnmatchcase(appliance, one) for one in s.appliances)}
            if any(fnmatchcase(appliance, one.appliance) and (one.list in taken if one.list else taken) for one in site.approve):
                use.sites.append(name)
    for name in catalogue.names("clusters"):
        cluster = _read(lambda name=name: catalogue.cluster(name))  # type: ignore[misc]
        for service in cluster.services.values() if cluster else ():
            if service.appliance.name in found and name not in found[service.appliance.name].clusters:
                found[service.appliance.name].clusters.append(name)
    return found


def _read(load: Callable[[], T | None]) -> T | None:
    try:
        return load()
    except Problems:
        return None


def forecasts(
    removed: Iterable[str], built: Iterable[str], used: Mapping[str, Uses], ids: set[str], cause: Callable[[str], Cause | None]
) -> list[Action]:
    """What follows, what is taken away first. `ids`: the actions of the plan that these may need."""
    found: list[Action] = []
    for name in sorted(removed):
        why = cause(definition(name))
        use = used[name]
        found += [
            WithdrawFromList(subject=f"{each}/{name}", reason=f"{name} was removed but list {each} still names it", cause=why) for each in use.lists
        ]
        found += [HideImage(subject=f"{each}/{name}", reason=f"{name} was removed", cause=why) for each in use.sites]
        found += [
            BreakCluster(subject=f"{each}/{name}", reason=f"{name} was removed but cluster {each} needs it", cause=why) for each in use.clusters
        ]
    for name in sorted(built):
        use = used[name]
        if not use.lists:
            continue
        release = f"release:{name}"
        endorse = AwaitEndorsement(
            subject=name, reason="a new release counts for nothing until it is endorsed", needs=(release,) if release in ids else ()
        )
        found.append(endorse)
        for each in use.lists:
            publish = PublishList(subject=f"{each}/{name}", reason=f"list {each} names {name}", needs=(endorse.id,))
            found.append(publish)
        for each in use.sites:
            found.append(
                RegisterImage(
                    subject=f"{each}/{name}",
                    reason=f"site {each} takes {name} from {', '.join(use.lists)}",
                    needs=(f"publish:{use.lists[0]}/{name}",),
                )
            )
        for each in use.clusters:
            found.append(ReplaceMachines(subject=f"{each}/{name}", reason=f"cluster {each} runs {name}", needs=(endorse.id,)))
    return found
