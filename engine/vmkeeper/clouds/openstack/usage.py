"""Who uses an image: servers made from it, and volumes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from vmkeeper.clouds.openstack.errors import Forbidden, NoService
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import Transient

_PAGE = 1000


class Usage:
    """Looks for servers of everybody where the account may, else for those of its own project; so for volumes.

    Where the cloud has no compute or volume service, nothing of that kind uses an image.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._compute, self._volumes = access.service("compute"), access.service("block-storage")
        self._everybody: dict[str, bool] = {}
        self._lock = threading.Lock()

    def of(self, ids: Iterable[str]) -> dict[str, str]:
        """What uses each of these images, for people; one that nothing uses is left out. Nothing is asked for no images.

        One request an image, and the volumes once. Raises UserError where the account may not even look in its own project.
        """
        wanted = tuple(ids)
        if not wanted:
            return {}
        found = {id_: server for id_ in wanted if (server := self._server(id_))}
        rest = [id_ for id_ in wanted if id_ not in found]
        return found | (self._volumes_of(rest) if rest else {})

    def _server(self, id_: str) -> str:
        found = self._ask("compute", "/servers", "servers", {"image": id_, "limit": 1})
        return f"server {found[0].get('name') or found[0].get('id')} was made from it" if found else ""

    def _volumes_of(self, ids: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        params: dict[str, str | int] = {"limit": _PAGE}
        while True:
            volumes = self._ask("block-storage", "/volumes/detail", "volumes", params)
            for one in volumes:
                metadata = one.get("volume_image_metadata")
                image = metadata.get("image_id") if isinstance(metadata, dict) else None
                if image in ids:
                    found[image] = f"volume {one.get('name') or one.get('id')} was made from it"
            if len(volumes) < _PAGE:
                return found
            params = {**params, "marker": str(volumes[-1].get("id"))}

    def _ask(self, kind: str, path: str, what: str, params: dict[str, str | int]) -> list[dict[str, Any]]:
        service = self._compute if kind == "compute" else self._volumes
        doing = f"look for {what} that use an image"
        with self._lock:
            everybody = self._everybody.setdefault(kind, True)
        try:
            if everybody:
                try:
                    return self._list(service.get(path, doing=doing, params={**params, "all_tenants": 1}), what, doing)
                except Forbidden:
                    with self._lock:
                        self._everybody[kind] = False
            return self._list(service.get(path, doing=doing, params=params), what, doing)
        except NoService:
            return []

    def _list(self, body: dict[str, Any], what: str, doing: str) -> list[dict[str, Any]]:
        found = body.get(what)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise Transient(f"could not {doing}", where=self._access.where, why="the answer makes no sense")
        return found
