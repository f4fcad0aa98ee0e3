"""What answers of OpenStack mean, and that those which make no sense mean nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystoneauth1 import exceptions as keystone

from clouds.openstack.talker import Talker
from conformance.setting import DISK, THEN, spec_of
from vmkeeper.clouds.interface import Gone, NoRoom
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.errors import Conflict, Forbidden, NoService, error_for, reason_in, translated
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import Transient, UserError, VmkeeperError
from vmkeeper.model.platform import OpenStackPlatform

HTML = "<html><head><title>Welcome</title></head><body><p>Please log in.</p></body></html>"
IMAGE = {"id": "1", "status": "active", "visibility": "private", "name": "x", "os_hidden": False}


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "", UserError),
        (401, "", UserError),
        (403, "You are not authorized to complete publicize_image action.", Forbidden),
        (403, "Quota exceeded for instances: Requested 1", NoRoom),
        (404, "", Gone),
        (408, "", Transient),
        (409, "", Conflict),
        (413, "", NoRoom),
        (413, "Denying attempt to upload image because it exceeds the quota", NoRoom),
        (415, "Image failed safety checks", UserError),
        (429, "", Transient),
        (500, "", Transient),
        (503, "", Transient),
        (507, "", NoRoom),
    ],
)
def test_a_status_is_an_error_typed_by_what_happens_next(status: int, reason: str, kind: type) -> None:
    error = error_for(status, reason, "do it", "cloud x")
    assert type(error) is kind
    assert error.where == "cloud x"
    assert error.why.endswith(reason)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (keystone.Unauthorized("no"), UserError),
        (keystone.Forbidden("no"), Forbidden),
        (keystone.NotFound("no"), Gone),
        (keystone.ServiceUnavailable("no"), Transient),
        (keystone.ConnectFailure("no"), Transient),
        (keystone.ConnectTimeout("no"), Transient),
        (keystone.UnknownConnectionError("no", OSError()), Transient),
        (keystone.SSLError("no"), UserError),
        (keystone.EndpointNotFound("no"), NoService),
        (keystone.EmptyCatalog("no"), NoService),
        (keystone.DiscoveryFailure("no"), Transient),
        (keystone.InvalidResponse("no"), Transient),
        (keystone.MissingRequiredOptions([]), UserError),
        (keystone.NoMatchingPlugin("x"), UserError),
        (yaml.YAMLError("password: secret"), UserError),
    ],
)
def test_the_libraries_errors_are_ours(error: Exception, kind: type) -> None:
    with pytest.raises(VmkeeperError) as found, translated("cloud x", "do it"):
        raise error
    assert type(found.value) is kind
    assert found.value.__cause__ is None
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    ("text", "content", "said"),
    [
        (
            "<html>\n <head>\n  <title>403 Forbidden</title>\n </head>\n <body>\n  <h1>403 Forbidden</h1>\n  You can&#x27;t.<br />\n </body>\n</html>",
            "text/html",
            "You can't.",
        ),
        ('{"forbidden": {"code": 403, "message": "Quota \\"x\\" exceeded"}}', "application/json", 'Quota "x" exceeded'),
        ('{"error": 1}', "application/json", '{"error": 1}'),
        ("\x1b[31mred\u202e", "text/plain", " [31mred "),
        ("x" * 5000, "", "x" * 300),
    ],
)
def test_reasons_are_one_plain_line(text: str, content: str, said: str) -> None:
    assert reason_in(text, content) == said


@pytest.fixture
def talker() -> Iterator[Talker]:
    one = Talker()
    yield one
    one.close()


@pytest.fixture
def cloud(talker: Talker, tmp_path: Path) -> OpenStackCloud:
    said = {"auth_type": "none", "auth": {"endpoint": talker.url}, "image_endpoint_override": talker.url, "region_name": "R"}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"x": said}}))
    return OpenStackCloud(Access(OpenStackPlatform(type="openstack", cloud="x"), tmp_path), owner="vmkeeper:here", folder=tmp_path / "locks")


def page(*images: Any, **more: Any) -> tuple[int, str, str]:
    return 200, "application/json", json.dumps({"images": list(images), **more})


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", HTML),
        (200, "application/json", ""),
        (200, "application/json", '{"images": [{"id": "1", "sta'),
        (200, "application/json", "[]"),
        (200, "application/json", "{}"),
        (200, "application/json", '{"images": {}}'),
        (202, "application/json", '{"images": []}'),
        (204, "application/json", ""),
        (500, "text/html", HTML),
        (503, "text/plain", "busy"),
        page({}),
        page("text"),
        page({"id": "1"}),
        page(IMAGE | {"id": None}),
        page(IMAGE | {"os_hidden": "yes"}),
        page(IMAGE, IMAGE),
        page(next="/v2/images?marker=1"),
    ],
)
def test_a_listing_that_makes_no_sense_is_no_listing(talker: Talker, cloud: OpenStackCloud, answer: tuple[int, str, str]) -> None:
    talker.answers = [answer]
    with pytest.raises(Transient):
        cloud.images()


def test_a_token_is_not_taken_elsewhere(talker: Talker, cloud: OpenStackCloud) -> None:
    other = Talker()
    other.answers = [page()]
    try:
        talker.answers = [(302, f"text/html\r\nLocation: {other.url}/v2/images", "")]
        with pytest.raises(UserError, match="elsewhere"):
            cloud.images()
        assert other.asked == []
    finally:
        other.close()


def test_a_listing_that_breaks_off_after_its_first_page_is_no_listing(talker: Talker, cloud: OpenStackCloud) -> None:
    talker.answers = [page(IMAGE, next="/v2/images?marker=1"), (500, "text/plain", "")]
    with pytest.raises(Transient):
        cloud.images()


def test_a_listing_that_never_ends_ends(talker: Talker, cloud: OpenStackCloud) -> None:
    talker.answers = [page(IMAGE, next="/v2/images?marker=1")]
    with pytest.raises(Transient):
        cloud.images()


@pytest.mark.parametrize(
    "answer", [(200, "text/html", HTML), (200, "application/json", ""), (200, "application/json", '{"id": "1"}'), (502, "text/html", HTML)]
)
@pytest.mark.parametrize(
    "act",
    [
        lambda cloud, _: cloud.update("1", spec_of(DISK), THEN),
        lambda cloud, _: cloud.delete("1"),
        lambda cloud, _: cloud.adopt("1", spec_of(DISK)),
        lambda cloud, file: cloud.upload(spec_of(DISK), file),
        lambda cloud, _: cloud.machines(),
    ],
)
def test_nothing_is_concluded_from_an_answer_that_makes_no_sense(
    talker: Talker, cloud: OpenStackCloud, tmp_path: Path, answer: tuple[int, str, str], act: Callable[[OpenStackCloud, Path], object]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(DISK)
    talker.answers = [answer]
    with pytest.raises(Transient):
        act(cloud, file)
