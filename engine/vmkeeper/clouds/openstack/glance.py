"""Glance's API v2, as far as images are kept with it: one method a request, answers checked for what we read of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from vmkeeper.clouds.openstack.errors import Forbidden
from vmkeeper.clouds.openstack.session import Access, Answer
from vmkeeper.errors import Transient

PAGE = 1000
"""Images a page; Glance gives 25 where nothing is asked for, and never more than its api_limit_max."""
_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_BYTES = {"Content-Type": "application/octet-stream"}
STORING = (120.0, 3600.0)
"""Seconds for each piece of a file to go, and for the answer to all of it: some stores copy it once more before they answer."""


class Glance:
    """The image service of one place."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._service = access.service("image")

    @property
    def date(self) -> str:
        """When the cloud says it is, as it says it in HTTP."""
        return self._service.date

    def listing(self, **filters: str) -> list[dict[str, Any]]:
        """All images that pass the filters, page by page in order of ids. Complete, or it raises."""
        return list(self._pages(filters))

    def everything(self, project: str | None) -> list[dict[str, Any]]:
        """All images that the account can see, and the hidden ones of its project.

        Glance lists either hidden images or the others, never both: hidden ones take a request of their own, which
        is short, because it asks for those of one project only.
        """
        hidden = {"owner": project} if project else {}
        return [*self.listing(), *self.listing(os_hidden="true", **hidden)]

    def show(self, id_: str) -> dict[str, Any]:
        """One image. Raises Gone."""
        return self._image(self._service.get(f"/images/{_part(id_)}", doing="look at the image"))

    def create(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """A new image without bytes; None where its id is or ever was another image's."""
        answer = self._service.call("POST", "/images", doing=_create(fields), json=dict(fields), expect=201, bear={409})
        return None if answer.status == 409 else self._image(answer.body)

    def change(self, id_: str, patch: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """One PATCH: all of it or nothing. Raises Gone, Forbidden."""
        operations = list(patch)
        doing = _change(operations)
        answer = self._service.call("PATCH", f"/images/{_part(id_)}", doing=doing, data=json.dumps(operations), headers=_PATCH)
        return self._image(answer.body)

    def put(self, id_: str, data: Any) -> Answer:
        """The image's bytes: an iterable with a length, begun again where the session has to log in anew."""
        return self._service.call(
            "PUT", f"/images/{_part(id_)}/file", doing="store the image", data=data, headers=_BYTES, timeout=STORING, expect=204
        )

    def deactivate(self, id_: str) -> bool:
        """No bytes for anybody any more; False where the account may not do that."""
        try:
            self._service.call("POST", f"/images/{_part(id_)}/actions/deactivate", doing="deactivate images", expect=204)
        except Forbidden:
            return False
        return True

    def reactivate(self, id_: str) -> None:
        """The reverse."""
        self._service.call("POST", f"/images/{_part(id_)}/actions/reactivate", doing="reactivate images", expect=204)

    def delete(self, id_: str) -> Answer:
        """Remove an image with its bytes; the answer may be 404, or 409 where the store says that it is used."""
        return self._service.call("DELETE", f"/images/{_part(id_)}", doing="delete the image", expect=204, bear={404, 409})

    def usage(self) -> dict[str, tuple[int, int]]:
        """What is limited for the project → (used, limit): image_size_total and image_stage_total in MiB, image_count_total.

        {} where Glance has no limits or does not tell (before Xena, or not to this account).
        """
        answer = self._service.call("GET", "/info/usage", doing="look at the quota", bear={403, 404})
        said = answer.body.get("usage")
        found = said if isinstance(said, dict) else {}
        pairs = {name: (one.get("usage"), one.get("limit")) for name, one in found.items() if isinstance(one, dict)}
        return {name: (used, limit) for name, (used, limit) in pairs.items() if isinstance(used, int) and isinstance(limit, int) and limit >= 0}

    def members(self, id_: str) -> dict[str, str]:
        """Projects that a shared image is shared with → `pending`, `accepted` or `rejected`."""
        body = self._service.get(f"/images/{_part(id_)}/members", doing="list whom images are shared with")
        try:
            return {str(one["member_id"]): str(one["status"]) for one in body["members"]}
        except (KeyError, TypeError):
            raise self._senseless("list whom images are shared with") from None

    def share(self, id_: str, project: str) -> None:
        """Share with a project; fine where it is so already."""
        self._service.call("POST", f"/images/{_part(id_)}/members", doing="share images", json={"member": project}, bear={409})

    def unshare(self, id_: str, project: str) -> None:
        """The reverse."""
        self._service.call("DELETE", f"/images/{_part(id_)}/members/{_part(project)}", doing="take shared images back", expect=204, bear={404})

    def accept(self, id_: str, project: str) -> bool:
        """Accept a shared image for a project; False where this account may not: an administrator or the project itself may."""
        where = f"/images/{_part(id_)}/members/{_part(project)}"
        return self._service.call("PUT", where, doing="accept images", json={"status": "accepted"}, bear={403, 404}).status == 200

    def _pages(self, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        params: dict[str, str | int] = {"limit": PAGE, "sort": "id:asc", **filters}
        had: set[str] = set()
        while True:
            body = self._service.get("/images", doing="list images", params=params)
            images = body.get("images")
            if not isinstance(images, list):
                raise self._senseless("list images")
            for one in images:
                image = self._image(one)
                if image["id"] in had:
                    raise self._senseless("list images")
                had.add(image["id"])
                yield image
            if "next" not in body:
                return
            if not images:
                raise self._senseless("list images")
            params = {**params, "marker": images[-1]["id"]}

    def _image(self, found: Any) -> dict[str, Any]:
        """What Glance shows of an image, if it is that."""
        sound = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("id", "status", "visibility"))
        if not sound or not isinstance(found.get("os_hidden", False), bool):
            raise self._senseless("look at images")
        return dict(found)

    def _senseless(self, doing: str) -> Transient:
        return Transient(f"could not {doing}", where=self._access.where, why="the answer makes no sense")


def _part(text: str) -> str:
    """An id as a part of a path: whatever it is, it stays one part."""
    return quote(text, safe="") or "-"


def _create(fields: Mapping[str, Any]) -> str:
    if fields.get("visibility") in ("public", "community"):
        return f"make {fields['visibility']} images (Glance's right {_rights(fields)} or add_image)"
    return "create images"


def _change(operations: list[Mapping[str, Any]]) -> str:
    said = {str(one["path"])[1:]: one.get("value") for one in operations}
    if said.get("visibility") in ("public", "community"):
        return f"make images {said['visibility']} (Glance's right {_rights(said)})"
    return "change the image"


def _rights(fields: Mapping[str, Any]) -> str:
    return {"public": "publicize_image", "community": "communitize_image"}.get(str(fields.get("visibility")), "modify_image")
