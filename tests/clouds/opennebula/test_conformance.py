"""OpenNebula passes the suite that all clouds pass: two versions of the stand-in, or the real oned that the environment names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conformance.cloud import CloudConformance, Setting
from support import opennebula as servers
from support.onesite import bearers, datastore, owned_by, plant, tidy
from support.opennebula import opennebula

__all__ = ["opennebula"]


class OpenNebulaConformance(CloudConformance):
    transport = "path"

    @pytest.fixture
    def setting(self, opennebula: servers.Setting, tmp_path: Path) -> Iterator[Setting]:
        one = opennebula
        if one.folder is None:
            pytest.skip("VMKEEPER_ONE_FOLDER is not set: there is no folder that oned's host sees")
        store = datastore(one)

        def fill() -> None:
            assert one.standin is not None
            one.standin.tamper("datastore", store, free=0)

        def meddle(id_: str) -> None:
            number = int(id_)
            if one.standin is not None and one.xml("one.image.info", number).findtext("STATE") == "1":
                one.call("one.image.enable", number, False)
            one.call("one.image.chmod", number, *([1] * 9))
            one.call("one.image.rename", number, f"{one.prefix}meddled")

        with tidy(one):
            yield Setting(
                connect=lambda owner: owned_by(one, tmp_path, owner, self.transport),
                plant=partial(plant, one),
                folder=tmp_path / "files",
                cannot_start="" if one.starts else "VMKEEPER_ONE_STARTS is not yes: machines do not get to run",
                meddle=meddle,
                spoil=lambda id_: one.call("one.image.update", int(id_), "<TEMPLATE><VMKEEPER_SPEC>{}</VMKEEPER_SPEC></TEMPLATE>", 1),
                bearers=lambda alias: bearers(one, alias),
                fill=fill if one.standin is not None else None,
            )
            if one.standin is not None:
                one.standin.tamper("datastore", store, free=20480)


class TestByPath(OpenNebulaConformance):
    pass


class TestOverHttp(OpenNebulaConformance):
    transport = "http"
