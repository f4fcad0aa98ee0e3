"""Projects, users and application credentials, made through Keystone's API (Identity v3), and their entries for a clouds.yaml."""

from __future__ import annotations

from typing import Any

import httpx

from .profiles import ADMIN, REGION

Entry = dict[str, Any]


def entry(url: str, user: str, project: str) -> Entry:
    """The entry of a user, whose password is the user's name. url: Keystone's address."""
    login = {
        "auth_url": url,
        "username": user,
        "password": user,
        "project_name": project,
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    return {"region_name": REGION, "auth": login}


def credential_entry(url: str, credential: tuple[str, str]) -> Entry:
    """The entry of an application credential (id, secret)."""
    login = {"auth_url": url, "application_credential_id": credential[0], "application_credential_secret": credential[1]}
    return {"region_name": REGION, "auth_type": "v3applicationcredential", "auth": login}


class Keystone:
    """Keystone as its administrator (or another user) sees it; raises httpx.HTTPStatusError."""

    def __init__(self, url: str, user: str = ADMIN, project: str = ADMIN) -> None:
        self.url = url
        self._http = httpx.Client(timeout=60, trust_env=False)
        password = {"user": {"name": user, "password": user, "domain": {"id": "default"}}}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        asked = {"auth": {"identity": {"methods": ["password"], "password": password}, "scope": scope}}
        answer = self._http.post(f"{url}/auth/tokens", json=asked).raise_for_status()
        self._http.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.user: str = answer.json()["token"]["user"]["id"]
        self._roles: dict[str, str] = {}

    def __enter__(self) -> Keystone:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _create(self, path: str, kind: str, **fields: object) -> Any:
        return self._http.post(f"{self.url}/{path}", json={kind: fields}).raise_for_status().json()[kind]

    def create_project(self, name: str) -> str:
        """The new project's id."""
        found: str = self._create("projects", "project", name=name, domain_id="default")["id"]
        return found

    def create_user(self, name: str, project: str, *roles: str) -> str:
        """The id of a new user, whose password is the name, with these roles in a project (its id)."""
        found: str = self._create("users", "user", name=name, password=name, domain_id="default", default_project_id=project)["id"]
        for role in roles:
            self.grant(found, project, role)
        return found

    def grant(self, user: str, project: str, role: str) -> None:
        if not self._roles:
            listed = self._http.get(f"{self.url}/roles").raise_for_status().json()["roles"]
            self._roles = {one["name"]: one["id"] for one in listed}
        self._http.put(f"{self.url}/projects/{project}/users/{user}/roles/{self._roles[role]}").raise_for_status()

    def create_service(self, name: str, kind: str, url: str, region: str = REGION) -> None:
        """Enter a service with its address into the catalogue, and the region if it is not there yet."""
        if region != REGION:
            self._create("regions", "region", id=region)
        service = self._create("services", "service", name=name, type=kind)["id"]
        for face in ("public", "internal"):
            self._create("endpoints", "endpoint", service_id=service, interface=face, region_id=region, url=url)

    def create_credential(self, name: str) -> tuple[str, str]:
        """Id and secret of a new application credential of the user who is logged in, for the project of this login."""
        made = self._create(f"users/{self.user}/application_credentials", "application_credential", name=name)
        return made["id"], made["secret"]

    def remove_user(self, user: str) -> None:
        self._http.delete(f"{self.url}/users/{user}").raise_for_status()

    def remove_project(self, project: str) -> None:
        self._http.delete(f"{self.url}/projects/{project}").raise_for_status()
