"""A place's session: which entry of clouds.yaml, which region, which project, and requests with typed errors.

clouds.yaml is read from the site's own folder, else from where OpenStack's tools look for it, but never from the
current directory: a followed repository must not be able to say where credentials are sent.
"""

from __future__ import annotations

import copy
import json as codec
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session
from openstack.config import OpenStackConfig, loader
from openstack.config.cloud_region import CloudRegion

from vmkeeper.clouds.openstack.errors import NoService, error_for, reason_in, translated
from vmkeeper.errors import Transient, UserError
from vmkeeper.images.files import reported
from vmkeeper.model.platform import OpenStackPlatform

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
ServiceType = Literal["image", "compute", "network", "block-storage"]
_VERSIONS: dict[ServiceType, str] = {"image": "v2", "compute": "v2.1", "network": "v2.0", "block-storage": "v3"}
_UNKNOWN = "?"
_PROJECT_KEYS = ("project_id", "project_name", "tenant_id", "tenant_name", "project-id", "project-name")
for _library in ("keystoneauth", "openstack"):
    logging.getLogger(_library).addHandler(logging.NullHandler())  # what matters of what they say comes as errors


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said; `body` is {} where nothing was to be said."""

    status: int
    body: dict[str, Any]
    reason: str
    """In one line, of an error."""


class Access:
    """One account in one region and project. Nothing is read or asked before the first request."""

    def __init__(self, platform: OpenStackPlatform, home: Path, *, region: str | None = None, project: str | None = None) -> None:
        self.platform = platform
        self.where = f"cloud {platform.cloud}" + (f", project {project}" if project else "") + (f", region {region}" if region else "")
        self._home, self._wanted_region, self._wanted_project = home, region, project
        self._region: CloudRegion | None = None
        self._session: Session | None = None
        self._project: str | None = _UNKNOWN
        self.patience: float | None = None
        """Seconds that any request may take, where clouds.yaml says so (api_timeout)."""
        self._lock = threading.RLock()

    @property
    def session(self) -> Session:
        """The session, with a token of the project that is wanted. Raises UserError, Transient."""
        with self._lock, translated(self.where, "log in"):
            if self._session is None:
                self._region, session = self._opened()
                self.patience = session.timeout
                session.timeout = session.timeout or TIMEOUT[1]
                self._check_project(session)
                self._session = session
            return self._session

    @property
    def project(self) -> str | None:
        """ID of the project; None where the cloud has no identity service. Raises UserError for a login that is for no project."""
        if self._project == _UNKNOWN:
            with translated(self.where, "log in"):
                session = self.session
                found = session.get_project_id()
            if not found and isinstance(session.auth, BaseIdentityPlugin):
                raise UserError(
                    "the credentials are for no project", where=self.where, hint="name one in clouds.yaml (project_name) or as the place's"
                )
            self._project = str(found) if found else None
        return self._project

    def elsewhere(self, project: str) -> Access:
        """The same account in another project."""
        return Access(self.platform, self._home, region=self._wanted_region, project=project)

    def service(self, kind: ServiceType) -> Service:
        """A service of the region; that it is not there shows at the first request."""
        return Service(self, kind)

    def adapter(self, kind: ServiceType) -> Adapter:
        """Requests to a service's endpoint as the catalogue or clouds.yaml names it, in the version that we speak."""
        session, region = self.session, self._region
        assert region is not None
        if kind != "image" and not isinstance(session.auth, BaseIdentityPlugin) and not region.get_endpoint(kind):
            raise NoService("the cloud has no catalogue of services", where=self.where)
        plain = Adapter(
            session=session,
            service_type=kind,
            interface=region.get_interface(kind),
            region_name=region.get_region_name(kind),
            endpoint_override=region.get_endpoint(kind),
        )
        with translated(self.where, f"find the {kind} service"):
            url = plain.get_endpoint()
        if not url:
            hint = "look at region_name and interface in clouds.yaml, and at the site's places"
            raise NoService(f"could not find the {kind} service", where=self.where, hint=hint)
        return Adapter(session=session, endpoint_override=_versioned(str(url), kind), raise_exc=False)

    def _opened(self) -> tuple[CloudRegion, Session]:
        """The entry, and a session that has not logged in yet."""
        try:
            region = self._entry()
            return region, region.get_session()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # openstacksdk takes the form of the file for granted
            hint = "compare it with OpenStack's description of clouds.yaml"
            raise UserError("the entry in clouds.yaml is not of the form that is known", where=self.where, hint=hint) from None

    def _entry(self) -> CloudRegion:
        config = self._configuration()
        clouds = config.cloud_config.get("clouds", {})
        entry = clouds.get(self.platform.cloud)
        if not isinstance(entry, dict):
            hint = f"write it into {self._home / 'clouds.yaml'} (chmod 600)"
            raise UserError(f"no clouds.yaml has an entry {self.platform.cloud}", where=self.where, hint=hint)
        entry = clouds[self.platform.cloud] = copy.deepcopy(entry)
        if self._wanted_project is not None and not _is_application_credential(entry):
            entry["auth"] = _scoped(entry.get("auth") or {}, self._wanted_project)
        wanted: dict[str, Any] = {"region_name": self._wanted_region} if self._wanted_region else {}
        if not entry.get("regions"):
            entry |= wanted  # an entry that names one region is good for others, too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of services that we do not use
            return config.get_one(self.platform.cloud, **wanted)

    def _configuration(self) -> OpenStackConfig:
        """The site's own clouds.yaml with its clouds-public.yaml and secure.yaml, or the account's or the machine's."""
        own = self._home / "clouds.yaml"
        if own.is_file():
            for file in (own, self._home / "secure.yaml"):
                _not_readable_by_others(file)
            with reported("read clouds.yaml", own):
                yaml.safe_load(own.read_bytes())  # openstacksdk passes over what it cannot read
            clouds, secure, public = ([str(self._home / f"{name}.yaml")] for name in ("clouds", "secure", "clouds-public"))
        else:
            clouds = [*_named_by("OS_CLIENT_CONFIG_FILE"), *_elsewhere("clouds")]
            secure = [*_named_by("OS_CLIENT_SECURE_FILE"), *_elsewhere("secure")]
            public = _elsewhere("clouds-public")
        return OpenStackConfig(config_files=clouds, secure_files=secure, vendor_files=public, load_envvars=False, app_name="vmkeeper")

    def _check_project(self, session: Session) -> None:
        """That the token is for the project that is wanted: an application credential is for one project and no other."""
        if self._wanted_project is None:
            return
        access = session.auth.get_access(session) if isinstance(session.auth, BaseIdentityPlugin) else None
        got = (access.project_id, access.project_name) if access else (session.get_project_id(), None)
        if self._wanted_project not in got:
            why = f"they are for {got[1] or got[0] or 'no project'}"
            hint = "application credentials are for one project: leave out the place's project, or name an entry with a password or OIDC"
            raise UserError("the credentials cannot be used for this project", where=self.where, why=why, hint=hint)


class Service:
    """Requests to one service. Every answer is checked; one that makes no sense is `Transient` and never taken for an empty one."""

    def __init__(self, access: Access, kind: ServiceType) -> None:
        self._access, self._kind = access, kind
        self._adapter: Adapter | None = None
        self.date = ""
        """When the server said it was, in its last answer."""

    def get(self, path: str, *, doing: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """The JSON object at a path."""
        return self.call("GET", path, doing=doing, params=params).body

    def call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        expect: int = 200,
        bear: Iterable[int] = (),
    ) -> Answer:
        """One request. data: bytes, or an iterable with a length. timeout: as `TIMEOUT`, where clouds.yaml has no api_timeout.

        A status of 400 or above that is not in `bear` raises as `error_for` says; one below that is not `expect` makes no sense,
        and neither does a 200 or 201 without a JSON object: somebody else answered.
        """
        where = self._access.where
        with translated(where, doing):
            if self._adapter is None:
                self._adapter = self._access.adapter(self._kind)
            more: dict[str, Any] = {"json": json} if json is not None else {"data": data} if data is not None else {}
            said = {"Accept": "application/json", **(headers or {})}
            patience = self._access.patience or timeout
            # A body is logged by nobody: it may be an image, or user-data with secrets. A token goes nowhere that the catalogue does not name.
            more |= {"params": dict(params or {}), "headers": said, "timeout": patience, "log": False, "redirect": False}
            response = self._adapter.request(path, method, **more)
        self.date = response.headers.get("Date", self.date)
        if response.status_code >= 400:
            reason = reason_in(response.text, response.headers.get("Content-Type", ""))
            if response.status_code in set(bear):
                return Answer(response.status_code, {}, reason)
            raise error_for(response.status_code, reason, doing, where)
        if 300 <= response.status_code < 400:
            hint = "name the right address in clouds.yaml (image_endpoint_override)"
            raise UserError(f"could not {doing}", where=where, why="the service sends its clients elsewhere", hint=hint)
        if response.status_code != expect:
            raise Transient(f"could not {doing}", where=where, why=f"HTTP {response.status_code} makes no sense here")
        return Answer(expect, self._object(response.text, doing) if expect in (200, 201) or response.content else {}, "")

    def _object(self, text: str, doing: str) -> dict[str, Any]:
        try:
            found = codec.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Transient(f"could not {doing}", where=self._access.where, why="the answer is not a JSON object")
        return found


def _scoped(auth: Mapping[str, Any], project: str) -> dict[str, Any]:
    """An entry's `auth` for another project, by ID or name."""
    made = {key: value for key, value in auth.items() if key not in _PROJECT_KEYS}
    if re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", project):
        for key in ("project_domain_id", "project_domain_name"):
            made.pop(key, None)
        return {**made, "project_id": project}
    if not {"project_domain_id", "project_domain_name"} & set(made):
        made |= {f"project_domain_{key}": auth[f"user_domain_{key}"] for key in ("id", "name") if f"user_domain_{key}" in auth}
    return {**made, "project_name": project}


def _is_application_credential(entry: Mapping[str, Any]) -> bool:
    return "applicationcredential" in str(entry.get("auth_type", "")) or any("application_credential" in key for key in entry.get("auth") or {})


def _versioned(url: str, kind: ServiceType) -> str:
    """An endpoint with the version that we speak: catalogues have it with and without."""
    url = url.rstrip("/")
    if kind == "image":
        url = re.sub(r"/v[0-9.]+$", "", url)
    return url if re.search(r"/v[0-9.]+(/[^/]+)?$", url) else f"{url}/{_VERSIONS[kind]}"


def _named_by(variable: str) -> list[str]:
    path = os.environ.get(variable, "")
    return [path] if Path(path).is_absolute() else []


def _elsewhere(name: str) -> list[str]:
    """Where OpenStack's tools look for a file, but for the current directory (which comes first with them)."""
    folders = dict.fromkeys((loader.CONFIG_HOME, loader.UNIX_CONFIG_HOME, *loader.SITE_CONFIG_HOME.split(os.pathsep), loader.UNIX_SITE_CONFIG_HOME))
    return [str(Path(folder) / f"{name}{suffix}") for folder in folders for suffix in (*loader.YAML_SUFFIXES, *loader.JSON_SUFFIXES)]


def _not_readable_by_others(file: Path) -> None:
    """A file of secrets is its owner's alone, by its own mode or by that of a folder above it."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return
    folders = [folder.stat().st_mode for folder in file.resolve().parents]
    for read, enter in ((0o040, 0o010), (0o004, 0o001)):
        if mode & read and all(folder & enter for folder in folders):
            raise UserError(f"others can read these credentials (mode {mode & 0o777:03o})", where=str(file), hint=f"chmod 600 {file}")
