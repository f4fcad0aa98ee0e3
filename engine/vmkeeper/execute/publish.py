"""The whole of a publication: what lies beside images is made, the lists are planned against what is there, and carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmkeeper.execute.beside import make_beside, observe_derived, plan_beside
from vmkeeper.execute.digests import known_digests
from vmkeeper.execute.feedsigning import observe_feeds
from vmkeeper.execute.publication import Place, carry_out, list_signer, observe, observe_index
from vmkeeper.execute.walk import Outcome
from vmkeeper.lists.feeds import feeds
from vmkeeper.plan.chosen import Desired
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.publication import Publication, Published, plan_lists, plan_publication
from vmkeeper.progress import Progress


@dataclass(frozen=True, slots=True)
class Report:
    """What a run planned and did: first what lies beside images, then the publication itself."""

    beside: Plan
    publication: Publication
    outcomes: tuple[Outcome, ...]


def publish(place: Place, lists: Sequence[Desired], others: Sequence[Desired] = (), *, head: str = "", progress: Progress | None = None) -> Report:
    """Publish lists at a place. others: lists of the same folder that are not touched, but are in the forms that cover all lists.

    Run again, it does nothing. Raises what planning and observing raise; failed actions are outcomes.
    """
    names = [one.name for one in (*lists, *others)]
    looked = [observe(place.target, names, place.hands.key.certified, place.now)]
    beside = plan_beside(lists, observe_derived(lists, looked[0], place.store, place.now), place.store, place.now, head=head)
    outcomes = make_beside(beside, place.store, place.work / "publish", progress=progress)

    def planned() -> Publication:
        published = looked.pop() if looked else observe(place.target, names, place.hands.key.certified, place.now)
        return plan(place, lists, published, others, head=head)

    publication, done = carry_out(place, planned, progress=progress)
    return Report(beside, publication, (*outcomes, *done))


def plan(
    place: Place, lists: Sequence[Desired], published: Mapping[str, Published], others: Sequence[Desired] = (), *, head: str = ""
) -> Publication:
    """What publishing takes, with what the store has beside images. Only reads. published: what is there, by list name."""
    derived = observe_derived(lists, published, place.store, place.now)
    made = plan_lists(lists, published, list_signer(place.hands.key.certified), place.now, derived=derived, others=others)
    images = [image for shelf in made.shelves for image in shelf.images]
    digests = {image.sha512: known for image in images if (known := known_digests(place.store, image.sha512, image.architecture))}
    wanted = feeds(made.shelves, (*lists, *others)[0].base, digests) if made.shelves else ()
    there = observe_feeds(place.target, wanted, place.hands, place.now)
    return plan_publication(made, observe_index(place.target), wanted, there, openpgp=place.hands.openpgp is not None, head=head)
