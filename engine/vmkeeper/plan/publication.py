"""What publishing image lists takes: image files, the signed list that names them, the other forms, then what no list names goes.

Pure: what is endorsed and what is already published come in as data. A list that would say the same as the published one is
left alone until it has to be renewed, and so is every other file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.feeds import Feed
from vmkeeper.lists.hepix import HepixEndorser, HepixList, next_version, publish_text, same_content
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.model.imagelist import ImageList
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.beside import Derived, Made, Pair, published_before
from vmkeeper.plan.chosen import Choice, Desired, LeftOut, as_published, choose, nothing_lost, same_bytes
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.publication_actions import (
    INDEX_FILE,
    FeedSignature,
    PublishImage,
    RemoveImage,
    Signature,
    SignList,
    WriteFeed,
    WriteIndex,
)
from vmkeeper.plan.shelves import hepix, list_path, list_uri, shelf, shelved
from vmkeeper.values import Size, format_time

_CLEARED: tuple[Signature, ...] = ("openpgp-detached", "openpgp-clear")
"""Signatures that need a key of their own."""


@dataclass(frozen=True, slots=True)
class ListSigner:
    """What the signer's certificate says: names in one-line form, end of validity."""

    dn: str
    ca: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """What the public folder has of one list. `files` are files by path with their sizes, below NAME/images."""

    image_list: HepixList | None = None
    """None: there is none, or what is there is not a list that this signer signed."""
    files: Mapping[str, int] = field(default_factory=dict)
    sha512: str | None = None
    """Of the signed list's file, whatever it is."""
    version: str | None = None
    """hv:version of what is there, even where somebody else signed it: ours will be greater."""


@dataclass(frozen=True, slots=True)
class PublishedFeed:
    """What the public folder has of one feed: whether its content is as it should be, which signatures are there, and which are good."""

    same: bool = False
    there: frozenset[Signature] = frozenset()
    good: frozenset[Signature] = frozenset()


@dataclass(frozen=True, slots=True)
class ListsPlan:
    """The part of a publication that lists decide; `shelves` is what the public folder will offer then."""

    actions: tuple[Action, ...]
    removals: tuple[RemoveImage, ...]
    shelves: tuple[Shelf, ...]
    left_out: tuple[LeftOut, ...]
    refused: tuple[Refused, ...]
    index: Mapping[str, Mapping[str, str]]
    """Entries of the index of lists."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The plan, what it leaves out, and which lists it does not touch because something about them is refused."""

    plan: Plan
    left_out: tuple[LeftOut, ...]
    refused: tuple[Refused, ...] = ()


def plan_lists(
    lists: Sequence[Desired],
    published: Mapping[str, Published],
    signer: ListSigner,
    now: datetime,
    *,
    derived: Derived | None = None,
    others: Sequence[Desired] = (),
) -> ListsPlan:
    """Plan for several lists; `published` by list name. others: lists of the same folder that this run does not touch.

    Raises UserError where the certificate is out of date, ValueError where a list would lack what it must say.
    """
    if signer.not_after <= now:
        why = f"it ended on {format_time(signer.not_after)}"
        raise UserError("the publisher's certificate has expired", where=signer.dn, why=why, hint="give a certificate that is valid")
    actions: list[Action] = []
    removals: list[RemoveImage] = []
    left_out: list[LeftOut] = []
    refused: list[Refused] = []
    shelves = [_standing(desired, published.get(desired.name, Published())) for desired in others]
    for desired in lists:
        before = published.get(desired.name, Published())
        chosen, without = choose(desired, now)
        left_out += without
        try:
            nothing_lost(desired, chosen, before.image_list, now)
            same_bytes(desired, chosen, before.image_list)
            made = _list(desired, chosen, before, signer, derived or {}, now)
        except Refused as error:
            refused.append(error)
            shelves.append(_standing(desired, before))
        else:
            actions += made[0]
            removals += made[1]
            shelves.append(made[2])
    entries = {desired.name: {"title": desired.spec.title, "uuid": desired.spec.uuid, "uri": list_uri(desired)} for desired in lists}
    return ListsPlan(tuple(actions), tuple(removals), tuple(one for one in shelves if one), tuple(left_out), tuple(refused), entries)


def plan_publication(
    made: ListsPlan,
    index: Mapping[str, Mapping[str, str]],
    feeds: Sequence[Feed] = (),
    there: Mapping[str, PublishedFeed] | None = None,
    *,
    openpgp: bool = False,
    base: str = "",
    head: str = "",
) -> Publication:
    """The whole plan: lists, then index and feeds, then removals.

    index: as the public folder has it. feeds: made from `made.shelves`; `there`: what the folder has of them, by path. openpgp:
    whether there is a key for OpenPGP signatures.
    """
    signing = tuple(action.id for action in made.actions if isinstance(action, SignList))
    before = tuple(action.id for action in made.actions)
    further: list[Action] = []
    entries = {name: dict(entry) for name, entry in index.items()} | {name: dict(entry) for name, entry in made.index.items()}
    if entries != index:
        reason = "the lists that there are have changed"
        further.append(WriteIndex(subject=INDEX_FILE, reason=reason, needs=signing, path=INDEX_FILE, lists=dict(sorted(entries.items()))))
    can: Collection[Signature] = {"smime", "cms", *(_CLEARED if openpgp else ())}
    further += [action for feed in feeds if (action := _feed(feed, (there or {}).get(feed.path, PublishedFeed()), can, before))]
    told = tuple(action.id for action in further)
    removals = [action.model_copy(update={"needs": (*action.needs, *told)}) for action in made.removals]
    return Publication(Plan(base, head, ordered([*made.actions, *further, *removals])), made.left_out, made.refused)


def _list(
    desired: Desired, chosen: Sequence[Choice], before: Published, signer: ListSigner, derived: Derived, now: datetime
) -> tuple[list[Action], list[RemoveImage], Shelf]:
    """Files that are not there, the list if it changes; files that it no longer names; what is then there."""
    images = [(choice, shelved(desired, choice, derived)) for choice in chosen]
    actions = [action for choice, image in images for action in _files(desired, choice, image, before.files)]
    wanted = hepix(desired, images, HepixEndorser(dn=signer.dn, ca=signer.ca), signer.not_after, now)
    final = before.image_list
    if (reason := _why_sign(wanted, final, desired.spec, now)) or final is None:
        final = replace(wanted, version=next_version(before.version, now))
        needs = tuple(action.id for action in actions)
        text, path = publish_text(final), list_path(desired.name)
        actions.append(SignList(subject=desired.name, reason=reason, needs=needs, path=path, text=text, replaces=before.sha512))
    signed = tuple(action.id for action in actions if isinstance(action, SignList))
    named = {path for _, image in images for path, _, _, _ in _named(image)}
    gone = sorted(before.files.keys() - named)
    removals = [RemoveImage(subject=path, reason="no list names it any more", needs=signed, path=path) for path in gone]
    return actions, removals, shelf(desired, final, [image for _, image in images])


def _named(image: ShelvedImage) -> list[tuple[str, int, str, str]]:
    """Every file that an image stands for: path, size, SHA-512, and what it is."""
    found = [(image.path, image.size, image.sha512, "")]
    found += [(one.path, one.size, one.sha512, f" from {one.base_appliance} {one.base_version}") for one in image.patches]
    whole = image.compressed
    return found + ([(whole.path, whole.size, whole.sha512, " compressed")] if whole else [])


def _files(desired: Desired, choice: Choice, image: ShelvedImage, there: Mapping[str, int]) -> list[Action]:
    cause = Cause(commit=choice.decision.statement.commit, path=f"appliances/{choice.name}/release.yaml")
    reason = f"{choice.version} is endorsed until {format_time(choice.expires)}"
    return [
        PublishImage(subject=f"{desired.name}/{choice.name}{what}", reason=reason, cause=cause, path=path, size=Size(size), sha512=sha512)
        for path, size, sha512, what in _named(image)
        if there.get(path) != size
    ]


def _standing(desired: Desired, before: Published) -> Shelf | None:
    """A list as it stands published; of its images those whose endorsements are still known."""
    if before.image_list is None:
        return None
    derived: dict[Pair, Made | None] = {}
    found = []
    for image in before.image_list.images:
        if choice := as_published(desired, image):
            derived |= published_before(image, desired.base, before.files)
            found.append(shelved(desired, choice, derived))
    return shelf(desired, before.image_list, found)


def _why_sign(wanted: HepixList, published: HepixList | None, spec: ImageList, now: datetime) -> str:
    """Why the list has to be signed again, or "" where the published one still serves."""
    if published is None:
        return "there is no such list yet, or none that this certificate signed"
    if not same_content(wanted, published):
        return _difference(wanted, published)
    if published.expires - now < timedelta(seconds=spec.renew_before) and wanted.expires > published.expires:
        return f"it expires on {format_time(published.expires)}"
    return ""


def _difference(wanted: HepixList, published: HepixList) -> str:
    new, old = ({image.uuid: image for image in one.images} for one in (wanted, published))
    counts = {
        "new": len(new.keys() - old.keys()),
        "no longer listed": len(old.keys() - new.keys()),
        "changed": sum(new[key] != old[key] for key in new.keys() & old.keys()),
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"images: {said}" if said else "what it says about itself has changed"


def _feed(feed: Feed, there: PublishedFeed, can: Collection[Signature], needs: tuple[str, ...]) -> WriteFeed | None:
    """Write a feed where it differs, and make the signatures that it lacks."""
    missing = [one for one in feed.signatures if one in can and not (there.same and one in there.good)]
    gone = [one for one in feed.signatures if one not in can and one in there.there]
    if there.same and not missing and not gone:
        return None
    reason = "what it says has changed" if not there.same else "a signature is missing or no longer good" if missing else "there is no key for it"
    return WriteFeed(
        subject=feed.path,
        reason=reason,
        needs=needs,
        path=feed.path,
        text=feed.content.decode(),
        write=not there.same,
        signatures=tuple(_signature(feed, one) for one in missing),
        gone=tuple(feed.signature_path(one) for one in gone),
    )


def _signature(feed: Feed, kind: Signature) -> FeedSignature:
    signed = feed.to_sign(kind)
    return FeedSignature(type=kind, path=feed.signature_path(kind), text=signed.decode() if signed != feed.content else None)
