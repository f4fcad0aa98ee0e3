"""A site's plan: the images it wants against the images that one place of its cloud has. Pure; the time is an argument.

Only images with the site's mark are ever named in a plan. A new version comes before the old one goes; what
must not run any more goes at once, whatever replaces it. A list that cannot be read decides nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.model.site import Site
from vmkeeper.plan.desired import Desired, desired
from vmkeeper.plan.imageactions import DeleteImage, HideImage, ImageAction, RegisterImage, ShowImage, SiteAction, UpdateImage, arranged
from vmkeeper.plan.limits import TooMany, too_many_retired
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.retiring import AT_ONCE, WITHOUT_LIMIT, Reasons, Retire
from vmkeeper.plan.said import About, Render, plainly, said
from vmkeeper.plan.waiting import Waiting
from vmkeeper.plan.wanted import Note, Standings, Subscribed, Wanted, label
from vmkeeper.values import Version

__all__ = ["DeleteImage", "HideImage", "ImageAction", "RegisterImage", "ShowImage", "SitePlan", "UpdateImage", "plan_site"]


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The plan, what is left out of it and why, and the refusal of what would retire too much."""

    plan: Plan
    notes: tuple[Note, ...] = ()
    refusal: TooMany | None = None
    waiting: tuple[Waiting, ...] = ()
    """Releases that wait for a decision."""
    missing: frozenset[str] = frozenset()
    """Keys of wanted images that were there after the last run and that somebody deleted since."""


def plan_site(
    site: Site,
    lists: Iterable[Subscribed],
    standings: Standings,
    observed: Iterable[CloudImage],
    *,
    owner: str,
    now: datetime,
    head: str = "",
    force_retire: bool = False,
    had: Collection[str] = (),
    render: Render = plainly,
) -> SitePlan:
    """What turns `observed` into what the lists, trust and the site say, at one place.

    site: narrowed to the place (`Site.at`). observed: one complete listing of it, others' images included. owner: the mark of
    the site's images there. `force_retire`: the retire limit does not hold. had: `ImageSpec.key` of what was there after the last
    run. render: fills in templates of names. Planning again after the plan was carried out gives an empty plan.
    """
    return _Planning(site, tuple(lists), standings, tuple(observed), owner, now, frozenset(had), render).plan(head, force_retire=force_retire)


_Arrival = RegisterImage | ShowImage | UpdateImage


class _Planning:
    """One place, from what is there to what is to be done."""

    def __init__(
        self,
        site: Site,
        lists: tuple[Subscribed, ...],
        standings: Standings,
        observed: tuple[CloudImage, ...],
        owner: str,
        now: datetime,
        had: frozenset[str],
        render: Render,
    ) -> None:
        ours = sorted((image for image in observed if image.owner == owner), key=lambda image: image.id)
        self.site, self.now = site, now
        self.marked = [image for image in ours if image.spec is not None]
        self.want = desired(site, lists, standings, self.marked, now, had)
        self.present, self.spare = _match(self.want, self.marked)
        by_uuid: dict[str, Subscribed] = {}
        for found in lists:
            by_uuid.setdefault(found.uuid, found)
        self.reasons = Reasons(site, self.want, by_uuid, standings, now)
        self.about = About(site, owner.partition(":")[2].partition("/")[0], {uuid: found.name for uuid, found in by_uuid.items()}, render)
        labels = Counter(label(image.spec) for image in self.marked if image.spec)
        self.ambiguous = frozenset(one for one, count in labels.items() if count > 1)
        why = "it bears our mark, but what it says cannot be read; it is left alone"
        self.notes = [Note(f"image {image.id}", why) for image in ours if image.spec is None]

    def plan(self, head: str, *, force_retire: bool) -> SitePlan:
        """The plan, and all that leads to no action."""
        retire, left = self._retirements()
        limited = sum(found.ground not in WITHOUT_LIMIT for found in retire)
        coming = sum(key not in self.present or self.present[key].state == "hidden" for key in self._wanted_keys())
        usable_without = sum(image.state == "active" for image in self.marked) - (len(retire) - limited) + coming
        refusal = None if force_retire else too_many_retired(limited, usable_without, self.site.retire.limit)
        over: list[ImageSpec] = []
        if refusal:
            over = [found.spec for found in retire if found.ground not in WITHOUT_LIMIT]
            retire = [found for found in retire if found.ground in WITHOUT_LIMIT]

        wanted, bearers, unnamed = said(self.want.wanted, left, self.about)
        arrive = self._arrivals(wanted)
        losers = self._losers([*left, *over], bearers, arrive)
        needs = {uuid: tuple(action.id for action in actions) for uuid, actions in arrive.items()}
        hides = [self._hide(found, needs) for found in retire]
        taken_over = {action.spec.key for action in chain(*arrive.values()) if isinstance(action, RegisterImage)}
        deletions, kept = self.reasons.deletions(self.spare, taken_over, needs, self._subject)
        mended = self._mended({*(action.image for action in deletions), *(found.image.id for found in retire), *losers})
        arriving = [action for uuid in sorted(arrive) for action in arrive[uuid]]
        actions: list[SiteAction] = [*hides, *arriving, *mended, *deletions]
        told = {Note(label(found.spec), found.why) for found in retire}
        notes = (*self.want.notes, *unnamed, *self.notes, *kept)
        plan = Plan(base="", head=head, actions=arranged(actions))
        return SitePlan(plan, tuple(note for note in dict.fromkeys(notes) if note not in told), refusal, missing=self.want.missing)

    def _wanted_keys(self) -> list[str]:
        return [one.spec.key for one in chain(*self.want.wanted.values()) if one.spec.key in self.present or one.supply is not None]

    def _retirements(self) -> tuple[list[Retire], list[ImageSpec]]:
        """The usable images that go, and those that stay although nothing wants them."""
        retire: list[Retire] = []
        left: list[ImageSpec] = []
        for image in self.spare:
            if image.state == "active" and image.spec is not None:
                match self.reasons.retirement(image, image.spec):
                    case Retire() as found:
                        retire.append(found)
                    case Note() as note:
                        self.notes.append(note)
                        left.append(image.spec)
        return retire, left

    def _hide(self, found: Retire, coming: dict[str, tuple[str, ...]]) -> HideImage:
        """Hide an image; one that may still run waits for what comes in its place."""
        needs = () if found.ground in AT_ONCE else coming.get(found.spec.uuid, ())
        spec = found.spec.model_copy(update={"alias": None})
        return HideImage(subject=self._subject(found.image), reason=found.why, image=found.image.id, spec=spec, needs=needs)

    # -- what comes or changes

    def _arrivals(self, wanted: dict[str, tuple[Wanted, ...]]) -> dict[str, list[_Arrival]]:
        """What makes wanted images usable and up to date, by appliance UUID, newest first. Who loses an alias waits for who gets it."""
        versions = defaultdict[str, list[Version]](list)
        for spec in (one.spec for one in self.marked if one.spec):
            versions[spec.uuid].append(spec.version)
        actions = defaultdict[str, list[_Arrival]](list)
        for uuid, several in wanted.items():
            for one in several:
                older = max((version for version in versions[uuid] if version < one.spec.version), default=None)
                action = self._arrival(one, older)
                if action is not None:
                    bearer = actions[uuid][0] if actions[uuid] else None
                    if bearer is not None and bearer.spec.alias is not None and isinstance(action, UpdateImage) and _loses(self.present, action):
                        action = action.model_copy(update={"needs": (bearer.id,)})
                    actions[uuid].append(action)
        return {uuid: found for uuid, found in actions.items() if found}

    def _arrival(self, wanted: Wanted, older: Version | None) -> _Arrival | None:
        image = self.present.get(wanted.spec.key)
        name = label(wanted.spec)
        if image is None:
            if wanted.supply is None:
                return None
            reason = f"newer than {older}" if older else "endorsed, approved and not here yet"
            if wanted.spec.key in self.want.missing:
                reason = "somebody deleted it at the cloud"
            return RegisterImage(subject=name, reason=reason, spec=wanted.spec, supply=wanted.supply, store_as=wanted.store_as)
        if image.spec is None:
            return None
        spec = wanted.spec.with_bytes_of(image.spec).model_copy(update={"adopted": image.spec.adopted})
        if image.state == "hidden":
            return ShowImage(subject=name, reason="it is hidden and may be used again", image=image.id, spec=spec)
        if image.spec != spec:
            return UpdateImage(subject=name, reason=_difference(image.spec, spec), image=image.id, spec=spec)
        return self._mend(image, name)

    def _losers(self, left: list[ImageSpec], bearers: dict[str, str], arrive: dict[str, list[_Arrival]]) -> set[str]:
        """Images that stay although nothing wants them lose the alias of their appliance to the one that bears it now; their ids."""
        losers: set[str] = set()
        keys = {spec.key for spec in left}
        for image in self.spare:
            spec = image.spec
            if spec is None or image.state != "active" or spec.key not in keys or spec.alias is None or bearers.get(spec.uuid, spec.key) == spec.key:
                continue
            needs = tuple(action.id for action in arrive.get(spec.uuid, ())[:1] if action.spec.key == bearers[spec.uuid])
            change = spec.model_copy(update={"alias": None})
            action = UpdateImage(subject=self._subject(image), reason=_difference(spec, change), image=image.id, spec=change, needs=needs)
            arrive.setdefault(spec.uuid, []).append(action)
            losers.add(image.id)
        return losers

    # -- what somebody changed

    def _mended(self, others: set[str]) -> list[UpdateImage]:
        """Images that nothing wants, and somebody changed: they are what they should be as long as they are there. others: not these."""
        spare = [image for image in self.spare if image.drift and image.state != "incomplete" and image.id not in others]
        return [action for image in spare if (action := self._mend(image, self._subject(image))) is not None]

    def _mend(self, image: CloudImage, subject: str) -> UpdateImage | None:
        if not image.drift or image.spec is None:
            return None
        what = "; ".join(image.drift)
        if self.site.drift == "leave":
            self.notes.append(Note(label(image.spec), f"somebody changed it: {what}; it is left so (drift: leave)"))
            return None
        return UpdateImage(subject=subject, reason=f"somebody changed it: {what}", image=image.id, spec=image.spec, hidden_since=image.hidden_since)

    def _subject(self, image: CloudImage) -> str:
        assert image.spec is not None
        name = label(image.spec)
        return f"{name} [{image.id}]" if name in self.ambiguous else name


def _match(want: Desired, marked: list[CloudImage]) -> tuple[dict[str, CloudImage], list[CloudImage]]:
    """For each wanted key the image that is it (a usable one first, then one of the right list), and all others."""
    rank = {"active": 0, "hidden": 1}
    keys = {wanted.spec.key: wanted.spec.list for versions in want.wanted.values() for wanted in versions}
    found = [(rank[i.state], i.spec.list != keys[i.spec.key], i.id, i) for i in marked if i.spec and i.state in rank and i.spec.key in keys]
    present: dict[str, CloudImage] = {}
    for *_, image in sorted(found, key=lambda one: one[:3]):
        if image.spec:
            present.setdefault(image.spec.key, image)
    chosen = {image.id for image in present.values()}
    return present, [image for image in marked if image.id not in chosen]


def _loses(present: dict[str, CloudImage], action: UpdateImage) -> bool:
    before = present[action.spec.key].spec
    return before is not None and before.alias is not None and action.spec.alias is None


def _difference(old: ImageSpec, new: ImageSpec) -> str:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    fields = [name for name in after if before[name] != after[name]]
    if fields == ["alias"]:
        return f"it is called {new.alias} from now on" if new.alias else f"it is not called {old.alias} any more"
    return f"it says something else about its {', '.join(fields)}"
