"""Taking over images that other tools made: those that a list of the site offers now, and that may run here. Pure; the time is an argument.

A mark says only which image it would be. Where the cloud knows the bytes, they must be the ones that were signed for or what
they were converted to here; where it does not, the plan says that the mark is all there is. Nothing but marks is put on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from vmkeeper.clouds.interface import CloudImage, ImageSpec, SourceFile
from vmkeeper.model.appliance import Format
from vmkeeper.model.site import Site
from vmkeeper.plan.foreign import version_of
from vmkeeper.plan.imageactions import AdoptImage, arranged
from vmkeeper.plan.othermarks import OtherMark, read_mark
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.site import SitePlan
from vmkeeper.plan.wanted import Current, Note, Offer, Standings, Subscribed, Wanted, judged, label
from vmkeeper.values import Size


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a signed file was converted to here."""

    format: Format
    size: Size
    virtual_size: Size
    sha512: str


Converted = Callable[[str], Sequence[Conversion]]
"""What is known to have been made here of a signed file, by its SHA-512."""


def plan_adoption(
    site: Site,
    lists: Iterable[Subscribed],
    standings: Standings,
    observed: Iterable[CloudImage],
    *,
    owner: str,
    now: datetime,
    head: str = "",
    converted: Converted = lambda _sha512: (),
) -> SitePlan:
    """Which images of a place are taken over, and why others with marks of other tools are not. See `plan_site` for the arguments."""
    adopting = _Adopting(site, tuple(lists), standings, now, converted)
    images = sorted(observed, key=lambda image: image.id)
    adopting.there = {image.spec.key for image in images if image.owner == owner and image.spec is not None and image.state != "incomplete"}
    actions = []
    for image in images:
        if (mark := read_mark(image)) is not None:
            found = adopting.adopt(image, mark)
            if isinstance(found, AdoptImage):
                actions.append(found)
            else:
                adopting.notes.append(Note(f"image {image.id} ({image.name})", f"made by {mark.tool}; {found}"))
    return SitePlan(Plan(base="", head=head, actions=arranged(actions)), tuple(adopting.notes))


class _Adopting:
    def __init__(self, site: Site, lists: tuple[Subscribed, ...], standings: Standings, now: datetime, converted: Converted) -> None:
        self.site, self.standings, self.now, self.converted = site, standings, now, converted
        self.there: set[str] = set()
        self.notes: list[Note] = []
        self.by_uuid, self.by_mpuri, self.by_sha512 = defaultdict[str, list[Offer]](list), defaultdict[str, list[Offer]](list), defaultdict(list)
        for found in lists:
            if isinstance(found.state, Current) and not found.expired(now):
                for offer in found.state.offers:
                    self.by_uuid[offer.spec.uuid].append(offer)
                    self.by_mpuri[_address(offer.spec.properties.get("ad:mpuri", ""))].append(offer)
                    self.by_sha512[offer.spec.signed.sha512].append(offer)

    def adopt(self, image: CloudImage, mark: OtherMark) -> AdoptImage | str:
        """How an image is taken over, or why it is left."""
        if image.state == "incomplete":
            return "it is not complete; it is left"
        if mark.expired:
            return "it had expired there already; it is left"
        offers = self._meant(image, mark)
        if isinstance(offers, str):
            return offers
        may = [(offer, judged(offer, self.site, self.standings, self.now)) for offer in offers]
        wanted = next((one for _, one in may if isinstance(one, Wanted)), None)
        if wanted is None:
            why = next((one.why for _, one in may if isinstance(one, Note)), "it is not approved")
            return f"it is {label(offers[0].spec)}, which may not run here ({why}); it is left"
        name = label(wanted.spec)
        bytes_ = self._bytes(image, wanted)
        if bytes_ is None:
            return f"it says that it is {name}, and its bytes are others (the tool may have converted it); it is left"
        spec, why = bytes_
        if spec.key in self.there:
            return f"it is {name}, which the site has already; it is left"
        self.there.add(spec.key)
        spec = spec.model_copy(update={"adopted": mark.tool})
        return AdoptImage(subject=name, reason=f"made by {mark.tool} as {image.name}; {why}", image=image.id, spec=spec)

    def _meant(self, image: CloudImage, mark: OtherMark) -> list[Offer] | str:
        """The offers that an image can be, all of one version; or why there is none."""
        if mark.uuid:
            offers, what = self.by_uuid.get(mark.uuid, []), f"the image {mark.uuid}"
        elif mark.mpuri:
            offers, what = self.by_mpuri.get(_address(mark.mpuri), []), f"the image {mark.mpuri}"
        else:
            known = image.sha512 or mark.sha512
            offers, what = self.by_sha512.get(known, []) if known else [], "these bytes"
        if mark.list:
            offers = [offer for offer in offers if offer.spec.list == mark.list]
        if not offers:
            return f"no list of the site offers {what} now; it is left"
        if mark.version:
            offers = [offer for offer in offers if _same_version(mark.version, offer.spec)]
            if not offers:
                return f"no list of the site offers its version {mark.version} now; it is left"
        if mark.sha512:
            offers = [offer for offer in offers if offer.spec.signed.sha512 == mark.sha512]
            if not offers:
                return "the list offers other bytes than it was made of; it is left"
        if not (mark.version or mark.sha512 or image.sha512):
            return "nothing says which version it is; it is left"
        if image.sha512 and not (mark.version or mark.sha512):
            offers = [offer for offer in offers if image.sha512 in self._digests(offer)] or offers
        if len({offer.spec.version for offer in offers}) > 1:
            return "nothing says which of several versions it is; it is left"
        return offers

    def _digests(self, offer: Offer) -> set[str]:
        signed = offer.spec.signed.sha512
        return {signed, *(made.sha512 for made in self.converted(signed))}

    def _bytes(self, image: CloudImage, wanted: Wanted) -> tuple[ImageSpec, str] | None:
        """What is to be said of the bytes, and why that is believed; None where they are others."""
        signed = wanted.spec.signed
        plain = wanted.spec
        if wanted.store_as is not None:
            plain = _as_signed(wanted.spec, signed)
        if image.sha512 is None:
            return plain, "the cloud does not know its SHA-512, so its bytes are taken on the mark's word"
        if image.sha512 == signed.sha512:
            return plain, "its bytes are the ones that were signed for"
        for made in self.converted(signed.sha512):
            if made.sha512 == image.sha512:
                changes = {"format": made.format, "size": made.size, "virtual_size": made.virtual_size, "sha512": made.sha512, "source": signed}
                return wanted.spec.model_copy(update=changes), f"its bytes are what {signed.format} was converted to here"
        return None


def _as_signed(spec: ImageSpec, signed: SourceFile) -> ImageSpec:
    """The file as it is signed, where a cloud's image can be of its format."""
    try:
        return ImageSpec.model_validate({**spec.model_dump(), "format": signed.format, "size": signed.size, "sha512": signed.sha512, "source": None})
    except ValueError:
        return spec


def _same_version(said: str, spec: ImageSpec) -> bool:
    if said in (str(spec.version), spec.properties.get("hv:version")):
        return True
    try:
        return version_of(said) == spec.version
    except ValueError:
        return False


def _address(mpuri: str) -> str:
    return mpuri.strip().rstrip("/")
