"""Where in a pins file the mistake is, and what is written for sites that are pinned in other ways."""

from __future__ import annotations

from typing import Any

import pytest

from support.keys import SecurityKey
from support.trust import holder, pinned_site
from vmkeeper.documents.kinds import Kind
from vmkeeper.documents.load import load
from vmkeeper.errors import Problems
from vmkeeper.model.keys import SSHKey
from vmkeeper.trust.pins import PinnedSite, Pins, to_yaml

A, B = SecurityKey().plain_signer(), SecurityKey().plain_signer()
LIST = {
    "name": "examples",
    "uuid": "0f5a8f0e-3a51-4d52-9d0f-2f8f5e4c1a20",
    "signer": "/DC=org/CN=Alice Example",
    "ca": "/DC=org/CN=Example CA 1",
    "endorsers": "examples",
}
KIND = Kind("pins", "Pins", Pins, "*.yaml")


def pins(**changes: Any) -> Pins:
    """Pins as they are, whether they can be or not."""
    good = Pins(repository="1" * 40, tree="2" * 128, policy={"number": 1, "sha512": "3" * 128}, quorum=1, principals=(holder("a", A),))
    return good.model_copy(update=changes)


def one_too_many(site: PinnedSite) -> PinnedSite:
    return site.model_copy(update={"quorum": len(site.administrators) + 1})


TWO = pinned_site("lab", holder("a", A), holder("b", B))
BROKEN = SSHKey.model_construct(type="ssh", key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAQ", retired=None, compromised_since=None)


@pytest.mark.parametrize(
    ("made", "field", "what"),
    [
        (pins(image_lists=(LIST, LIST)), "image_lists", "an image list is pinned twice"),
        (pins(quorum=2), "quorum", "more principals must agree than there are"),
        (pins(principals=(holder("a", A), holder("a", B))), "principals", "a name is there twice"),
        (pins(site=PinnedSite.model_construct(name="lab")), "site.administrators", "a site is pinned by its file or by its administrators"),
        (pins(site=one_too_many(TWO)), "site.quorum", "more administrators must agree than there are"),
        (
            pins(site=TWO.model_copy(update={"administrators": (holder("a", A), holder("a", B))})),
            "site.administrators",
            "a name is there twice",
        ),
        (
            pins(site=TWO.model_copy(update={"administrators": (holder("a", A), holder("b", A))})),
            "site.administrators",
            "one key belongs to a and b: ed25519:",
        ),
        (
            pins(principals=(holder("a", A).model_copy(update={"keys": (BROKEN,)}),)),
            "principals",
            "the SSH key is not base64",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_mistakes_are_told_at_their_place(made: Pins, field: str, what: str) -> None:
    with pytest.raises(Problems) as caught:
        load(KIND, to_yaml(made).encode(), "pins.yaml")
    (problem,) = caught.value.problems
    assert problem.place.field == field
    assert problem.what.startswith(what)


@pytest.mark.parametrize("site", [None, PinnedSite(name="lab", file="4" * 128), TWO])
def test_pins_are_read_back_however_the_site_is_pinned(site: PinnedSite | None) -> None:
    made = pins(site=site)
    assert load(KIND, to_yaml(made).encode(), "pins.yaml") == made
