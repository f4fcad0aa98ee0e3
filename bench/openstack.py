"""What a run costs that finds nothing to do, at a real Glance: against one bare listing, and against openstack-image-manager.

    python bench/openstack.py [--images 100] [--runs 3] [--peer-runs 1] [--json FILE]

Each has as many images in a project of its own. The bare run logs in and lists them once, at 1000 a page. openstack-image-manager
is installed from PyPI into an environment of its own. Requests are counted by Glance and Keystone themselves; "program" is the
time of a whole process with its imports. CPU seconds, of the client and of the services, compare better on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

sys.path.pop(0)  # this folder, where this file is called what the SDK is called
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.openstack.installation import cache_folder
from servers.openstack.server import OpenStack, running
from support.foreign import Organisation, Subscriber, approved
from support.openstack import DISK, Tenants, tenants_of
from support.producer import NOW, Authority
from support.webserver import WebServer
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.execute.walk import Done
from vmkeeper.repository.tree import Repository

PEER = "openstack-image-manager==0.20261006.0"
Measured = dict[str, float]


class Site(Subscriber):
    """A site of one foreign list, whose cloud is an OpenStack."""

    def run(self, **_: Any) -> Reconciled:
        return once(self.producer.repo.folder, self.home.folder)


def once(repository: Path, home: Path) -> Reconciled:
    return reconcile(Repository.open(repository), SiteHome(home), "here", lambda: NOW)


def bare(tenants: Tenants, entry: str = "member") -> int:
    """Log in and list once; how many images there are."""
    login = json.loads(tenants.clouds_yaml.read_text())["clouds"][entry]["auth"]
    user = {"name": login["username"], "password": login["password"], "domain": {"id": "default"}}
    scope = {"project": {"name": login["project_name"], "domain": {"id": "default"}}}
    asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    with httpx.Client(timeout=60, trust_env=False) as client:
        token = client.post(f"{login['auth_url']}/auth/tokens", json=asked).raise_for_status().headers["X-Subject-Token"]
        address, found = f"{tenants.glance}/v2/images?limit=1000", 0
        while address:
            page = client.get(address, headers={"X-Auth-Token": token}).raise_for_status().json()
            found += len(page["images"])
            address = tenants.glance + page["next"] if "next" in page else ""
    return found


def spent() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def served(server: OpenStack) -> float:
    """CPU seconds of the services so far."""
    fields = [Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split() for process, _ in server.state.processes.values()]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def measured(work: Callable[[], object], tenants: Tenants) -> Measured:
    """Seconds and requests of some work, which is all that is done at the cloud meanwhile."""
    glance, keystone = len(tenants.server.requests()), len(tenants.server.requests("keystone"))
    began, cpu, theirs = time.monotonic(), spent(), served(tenants.server)
    work()
    taken, used, theirs = time.monotonic() - began, spent() - cpu, served(tenants.server) - theirs
    asked = tenants.server.requests()[glance:]
    # Glance asks Keystone what a token is worth; that is no request of the client
    logins = [one for one in tenants.server.requests("keystone")[keystone:] if one.method == "POST"]
    return {
        "wall": round(taken, 2),
        "cpu": round(used, 2),
        "services' cpu": round(theirs, 2),
        "listings": sum(one.method == "GET" and one.path == "/v2/images" for one in asked),
        "writes": sum(one.method != "GET" for one in asked),
        "Glance requests": len(asked),
        "logins": len(logins),
    }


def best(runs: Iterable[Measured]) -> Measured:
    """The least of each figure: what else the machine does only adds to it."""
    every = list(runs)
    return {what: min(run[what] for run in every) for what in every[0]}


def program(*words: str | Path, **environment: str) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{words[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    return run


def ours(server: OpenStack, folder: Path, images: int, runs: int) -> dict[str, Any]:
    tenants = tenants_of(server, folder / "login")
    with WebServer(folder / "www") as web:
        authority = Authority("Foreign Authority")
        published = Organisation(web, authority, common_name="Publisher")
        for number in range(images):
            published.offer(f"image {number}")
        published.publish()
        site = Site(folder, web)
        site.trusts(authority)
        site.takes(published.entry(), platform={"type": "openstack", "cloud": "member"}, approve=approved("science-*"))
        shutil.copy(tenants.clouds_yaml, site.home.folder)
        (site.home.folder / "clouds.yaml").chmod(0o600)
        done: list[Reconciled] = []
        first = measured(lambda: done.append(site.run()), tenants)
        registered = sum(isinstance(one, Done) for one in done[0].outcomes)
        if registered != images:
            raise SystemExit(f"{registered} of {images} images were registered: {[one for one in done[0].outcomes if not isinstance(one, Done)][:1]}")
        nothing, listing = [], []
        for _ in range(runs):  # in turns, so that both meet the same load
            nothing.append(measured(site.run, tenants))
            listing.append(measured(lambda: bare(tenants), tenants))
        command = [sys.executable, __file__, "--once", str(site.producer.repo.folder), str(site.home.folder)]
        whole = best(measured(program(*command), tenants) for _ in range(runs))
    return {"first": first, "nothing to do": best(nothing), "bare listing": best(listing), "nothing to do, program": whole}


def definitions(images: int) -> str:
    meta = {
        "architecture": "x86_64",
        "hw_disk_bus": "virtio",
        "hypervisor_type": "qemu",
        "os_distro": "debian",
        "os_version": "12",
        "os_purpose": "custom",
    }
    meta |= {"replace_frequency": "never", "provided_until": "none", "uuid_validity": "none"}
    version = {"version": "1", "url": "https://images.example.org/disk.raw"}
    fixed = {"enable": True, "format": "raw", "login": "debian", "min_disk": 1, "min_ram": 64, "multi": False, "status": "active"}
    fixed |= {"visibility": "private", "tags": [], "versions": [version], "meta": meta}
    return json.dumps({"images": [{"name": f"Image {number}", **fixed} for number in range(images)]})  # JSON is YAML


def peer(server: OpenStack, folder: Path, images: int, runs: int) -> dict[str, Any]:
    environment = cache_folder() / "peer"
    tool = environment / "bin" / "openstack-image-manager"
    if not tool.exists():
        venv.create(environment, with_pip=True, clear=True)
        program(environment / "bin" / "pip", "install", "--quiet", PEER)()
    tenants = tenants_of(server, folder / "login")
    glance = _glance(tenants)

    def make(number: int) -> None:
        fields = {"name": f"Image {number} 1", "container_format": "bare", "disk_format": "raw", "tags": ["managed_by_osism"]}
        made = glance.post("/v2/images", json=fields).raise_for_status().json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        glance.put(f"/v2/images/{made}/file", content=DISK[:4096], headers=octets).raise_for_status()

    with glance, ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(images)))
    (folder / "images").mkdir()
    (folder / "images" / "images.yml").write_text(definitions(images))
    run = program(tool, "--cloud", "member", "--images", f"{folder}/images/", OS_CLIENT_CONFIG_FILE=str(tenants.clouds_yaml))
    return {"nothing to do": best(measured(run, tenants) for _ in range(runs))}


def _glance(tenants: Tenants) -> httpx.Client:
    login = json.loads(tenants.clouds_yaml.read_text())["clouds"]["appcred"]["auth"]
    secret = {"id": login["application_credential_id"], "secret": login["application_credential_secret"]}
    asked = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": secret}}}
    answer = httpx.post(f"{login['auth_url']}/auth/tokens", json=asked, timeout=60, trust_env=False).raise_for_status()
    return httpx.Client(base_url=tenants.glance, headers={"X-Auth-Token": answer.headers["X-Subject-Token"]}, timeout=60, trust_env=False)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=100)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--peer-runs", type=int, default=1, help="0: without openstack-image-manager")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--once", nargs=2, type=Path, metavar=("REPOSITORY", "HOME"), help=argparse.SUPPRESS)
    wanted = arguments.parse_args()
    if wanted.once:
        once(*wanted.once)
        return
    with tempfile.TemporaryDirectory() as name, running("image", Path(name) / "cloud") as server:
        found: dict[str, Any] = {
            "images": wanted.images,
            "load": round(os.getloadavg()[0], 1),
            "ours": ours(server, Path(name) / "ours", wanted.images, wanted.runs),
        }
        mine = found["ours"]
        for what in ("wall", "services' cpu"):
            found[f"{what} against the bare listing"] = round(mine["nothing to do"][what] / max(mine["bare listing"][what], 0.01), 2)
        if wanted.peer_runs:
            theirs = found["openstack-image-manager"] = peer(server, Path(name) / "peer", wanted.images, wanted.peer_runs)
            whole = mine["nothing to do, program"]
            found["openstack-image-manager against ours"] = {
                what: round(theirs["nothing to do"][what] / max(whole[what], 0.01), 1) for what in ("wall", "cpu", "Glance requests")
            }
    text = json.dumps(found, indent=1)
    print(text)
    if wanted.json:
        wanted.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
