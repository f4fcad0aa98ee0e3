"""EC2 passes the suite that all clouds pass, over HTTP against moto's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.cloud import OWNER, CloudConformance, Setting
from support.ec2place import Ec2Region
from support.ec2server import NO_QUOTA


class TestEc2Cloud(CloudConformance):
    @pytest.fixture
    def setting(self, region: Ec2Region, tmp_path: Path) -> Setting:
        def bearers(alias: str) -> set[str]:
            return {image for name, image in region.parameters().items() if name == f"/vmkeeper/{OWNER.partition(':')[2]}/{alias}"}

        return Setting(
            connect=region.cloud,
            plant=region.plant,
            folder=tmp_path,
            meddle=lambda image: region.retag(image, Name="mine now"),
            spoil=lambda image: region.retag(image, **{"vmkeeper:spec.00": "01:nonsense"}),
            bearers=bearers,
            fill=lambda: region.snapshot(NO_QUOTA),
            projects=("111122223333", "444455556666"),
        )
