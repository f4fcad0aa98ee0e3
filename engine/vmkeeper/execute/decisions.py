"""What a site decided for itself: which sites/NAME.yaml is in force there, and what it says."""

from __future__ import annotations

from typing import cast

from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.errors import Refused
from vmkeeper.model.site import Site
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.pins import PinnedSite
from vmkeeper.values import sha512_hex


def read_site(data: bytes, name: str) -> Site:
    """A site's file; raises Problems where it is wrong."""
    return cast("Site", load(KINDS["site"], data, f"sites/{name}.yaml"))


def site_in_force(pinned: PinnedSite, judgement: Judgement, accepted: bytes | None) -> bytes:
    """The site's file as its administrators signed it, or as it was accepted (`accepted`); never what a maintainer merged.

    Raises Refused (R20) where there is none.
    """
    path = f"sites/{pinned.name}.yaml"
    if pinned.administrators:
        if not judgement.consents:
            why = "; ".join(map(str, judgement.refused_consents)) or "nobody has signed one"
            hint = f"administrators sign: vmkeeper approve {pinned.name}"
            raise Refused("R20", "no approval of the site's file is in force", where=path, why=why, hint=hint)
        return judgement.consents[-1].data
    if accepted is None or sha512_hex(accepted) != pinned.file:
        hint = f"accept it again: vmkeeper site init {pinned.name}"
        raise Refused("R20", "the site's file is not the one that was accepted", where=path, why=f"its SHA-512 is not {pinned.file}", hint=hint)
    return accepted
