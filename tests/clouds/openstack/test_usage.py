"""Who uses an image, asked of a Nova and a Cinder that say what a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clouds.openstack.talker import Talker
from vmkeeper.clouds.openstack import usage
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.clouds.openstack.usage import Usage
from vmkeeper.errors import Transient, UserError
from vmkeeper.model.platform import OpenStackPlatform

NONE = {"servers": []}
FORBIDDEN = (403, "application/json", '{"forbidden": {"code": 403, "message": "Policy does not allow this"}}')


def said(body: object) -> tuple[int, str, str]:
    return 200, "application/json", json.dumps(body)


def volume(name: str, image: str) -> dict[str, Any]:
    return {"id": name, "name": name, "volume_image_metadata": {"image_id": image, "image_name": "x"}}


@pytest.fixture
def nova() -> Iterator[Talker]:
    one = Talker()
    one.answers = [said(NONE)]
    yield one
    one.close()


@pytest.fixture
def cinder() -> Iterator[Talker]:
    one = Talker()
    one.answers = [said({"volumes": []})]
    yield one
    one.close()


@pytest.fixture
def used(nova: Talker, cinder: Talker, tmp_path: Path) -> Callable[..., dict[str, str]]:
    entry = {
        "auth_type": "none",
        "auth": {"endpoint": "http://127.0.0.1:9"},
        "compute_endpoint_override": nova.url,
        "block_storage_endpoint_override": cinder.url,
        "region_name": "R",
    }
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"x": entry}}))
    one = Usage(Access(OpenStackPlatform(type="openstack", cloud="x"), tmp_path))
    return lambda *ids: one.of(ids)


def test_nothing_is_asked_for_no_images(used: Callable[..., dict[str, str]], nova: Talker, cinder: Talker) -> None:
    assert used() == {}
    assert nova.asked == cinder.asked == []


def test_a_server_of_anybody_uses_its_image(used: Callable[..., dict[str, str]], nova: Talker) -> None:
    nova.answers = [said({"servers": [{"id": "1", "name": "web"}]})]
    assert used("i") == {"i": "server web was made from it"}
    assert nova.asked == ["/v2.1/servers?image=i&limit=1&all_tenants=1"]


def test_an_account_that_sees_its_own_servers_alone_asks_for_those(used: Callable[..., dict[str, str]], nova: Talker) -> None:
    nova.answers = [FORBIDDEN, said({"servers": [{"id": "1", "name": "web"}]})]
    assert set(used("i", "j")) == {"i", "j"}
    assert [path for path in nova.asked if "all_tenants" in path] == nova.asked[:1]
    assert len(nova.asked) == 3


def test_a_volume_uses_its_image_and_volumes_are_listed_once(
    used: Callable[..., dict[str, str]], cinder: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_PAGE", 2)
    cinder.answers = [said({"volumes": [volume("a", "other"), {"id": "b"}]}), said({"volumes": [volume("c", "i")]})]
    assert used("i", "j") == {"i": "volume c was made from it"}
    assert len(cinder.asked) == 2
    assert "marker=b" in cinder.asked[1]


def test_an_account_that_may_not_even_look_is_told(used: Callable[..., dict[str, str]], nova: Talker) -> None:
    nova.answers = [FORBIDDEN]
    with pytest.raises(UserError, match="may not look for servers"):
        used("i")


@pytest.mark.parametrize("answer", [(500, "", ""), (200, "text/html", "<p>"), said({}), said({"servers": [1]}), said({"servers": "x"})])
def test_an_answer_that_makes_no_sense_frees_no_image(used: Callable[..., dict[str, str]], nova: Talker, answer: tuple[int, str, str]) -> None:
    nova.answers = [answer]
    with pytest.raises(Transient):
        used("i")
