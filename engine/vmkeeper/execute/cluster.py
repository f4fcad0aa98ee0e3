"""Bring a cluster up or down at a site, with images that may run there at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.clouds.interface import Cloud, CloudMachine
from vmkeeper.contexts import sandbox
from vmkeeper.contexts.inherit import resolve
from vmkeeper.errors import Problems, Transient, UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.observe import look, site_cloud
from vmkeeper.execute.ready import wait_ready
from vmkeeper.execute.view import Connect, Place, View
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.context import Context
from vmkeeper.plan.actions import Action
from vmkeeper.plan.cluster import SSH, ClusterPlan, StartMachine, StopMachine, plan_down, plan_up, ready_mark
from vmkeeper.plan.wanted import runnable
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tree import Repository

_KEY_TYPES = ("ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp", "sk-ssh-ed25519@openssh.com ", "sk-ecdsa-sha2-nistp256@openssh.com ")


@dataclass(frozen=True, slots=True)
class Running:
    """A machine of a cluster that is ready, and the user that may log in."""

    machine: CloudMachine
    user: str | None

    @property
    def login(self) -> str:
        """The command that logs in, "" where SSH is not reachable."""
        if SSH not in self.machine.ports:
            return ""
        host, port = self.machine.ports[SSH]
        return f"ssh -p {port} {self.user}@{host}" if self.user else f"ssh -p {port} {host}"


@dataclass(frozen=True, slots=True)
class Up:
    """What bringing a cluster up planned, did, and left running."""

    made: ClusterPlan
    outcomes: tuple[Outcome, ...]
    running: tuple[Running, ...]


def planned(
    repository: Repository,
    home: SiteHome,
    name: str,
    site: str,
    now: datetime,
    *,
    public_keys: tuple[str, ...] = (),
    replace: bool = False,
    connect: Connect | None = None,
) -> tuple[ClusterPlan, Cloud]:
    """The plan for a cluster at a site, and the place of the site's cloud that runs it. Image lists are not fetched: what the site
    saw last counts. Raises what `look` raises, and Problems with all that stands in the way.
    """
    view = look(repository, home, site, now, connect=connect, fetch=_no_list)
    place = running_place(view)
    said, cloud = view.decided[place.name], place.cloud
    catalogue = Catalogue.at(repository, view.head)
    cluster = cluster_document(catalogue, name)
    made = plan_up(
        cluster,
        site,
        images=runnable(place.images, said.lists, said.standings, owner=cloud.owner, now=now),
        contexts=_contexts(catalogue, cluster),
        machines=cloud.machines(),
        owner=cloud.owner,
        public_keys=public_keys,
        replace=replace,
        head=view.head,
        render=sandbox.both,
    )
    return made, cloud


def running_place(view: View) -> Place:
    """The place that machines run at: the first of the site's file. Raises what its listing raised."""
    name = next(iter(view.site.platform.place_names), "")
    if name in view.unreachable:
        raise view.unreachable[name]
    return view.places[name]


def up(made: ClusterPlan, cloud: Cloud, catalogue: Catalogue, *, progress: Progress | None = None, sleep: Callable[[float], None] = time.sleep) -> Up:
    """Carry a plan out, then see that every machine of the cluster is ready, those too that were there before.

    Killed at any point, the next run goes on: machines that were started are found by their mark.
    """
    progress = progress or Silent()
    outcomes = walk(made.plan, performer(cloud, progress, sleep), progress=progress)
    there = {machine.name: machine for machine in cloud.machines() if machine.owner == cloud.owner}
    running = []
    started = {outcome.action.subject for outcome in outcomes}
    for start in (one for starts in made.wanted.values() for one in starts):
        machine = there.get(start.spec.name)
        if machine is not None and machine.generation == start.spec.generation:
            if start.subject not in started:
                progress.step(machine.name, "waiting until it is ready")
                machine = wait_ready(cloud, machine, start.ready, ready_mark(start.spec), sleep=sleep)
            running.append(Running(machine, _user(catalogue, start.spec.service, made)))
    return Up(made, outcomes, tuple(running))


def down(home: SiteHome, name: str, site: str, *, cloud: Cloud | None = None, progress: Progress | None = None) -> tuple[Outcome, ...]:
    """Stop and remove all machines of a cluster; it works without the cluster's document."""
    cloud = cloud or site_cloud(home, site)
    plan = plan_down(name, cloud.machines(), owner=cloud.owner)
    return walk(plan, performer(cloud, progress or Silent()), progress=progress)


def performer(cloud: Cloud, progress: Progress, sleep: Callable[[float], None] = time.sleep) -> Callable[[Action], str]:
    """What `walk` calls for each action of a cluster's plan."""

    def perform(action: Action) -> str:
        match action:
            case StartMachine(spec=spec, ready=ready):
                machine = cloud.start(spec)
                progress.step(spec.name, "started, waiting until it is ready")
                wait_ready(cloud, machine, ready, ready_mark(spec), sleep=sleep)
                return "ready"
            case StopMachine(machine=machine_id):
                cloud.stop(machine_id)
                return "stopped and removed"
        raise TypeError(f"a cluster does not do {action.kind}")

    return perform


def cluster_document(catalogue: Catalogue, name: str) -> Cluster:
    """clusters/NAME.yaml; raises UserError where there is none, Problems where it is wrong."""
    cluster = catalogue.cluster(name)
    if cluster is None:
        known = ", ".join(catalogue.names("clusters")) or "not there yet"
        raise UserError(f"there is no cluster {name} in this repository", hint=f"clusters are {known}")
    return cluster


def public_keys(files: tuple[Path, ...]) -> tuple[str, ...]:
    """The SSH public keys in files, each once. Raises UserError for what is none, a private key above all."""
    keys: dict[str, None] = {}
    for file in files:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError as error:
            raise UserError("the SSH key cannot be read", where=str(file), why=error.strerror or "") from None
        found = [" ".join(line.split()[:2]) for line in lines if line.startswith(_KEY_TYPES)]
        if not found:
            raise UserError("there is no SSH public key in this file", where=str(file), hint="give the .pub file; private keys stay where they are")
        keys |= dict.fromkeys(found)
    return tuple(keys)


def own_keys(folder: Path) -> tuple[Path, ...]:
    """The public keys that a person keeps in ~/.ssh."""
    return tuple(sorted(folder.glob("id_*.pub")))


def _contexts(catalogue: Catalogue, cluster: Cluster) -> dict[str, Context]:
    """The contexts that a cluster names, resolved; one that is not there is the plan's to report."""
    names = dict.fromkeys(service.context for service in cluster.services.values())
    return {name: resolve(name, catalogue.context) for name in names if catalogue.context(name) is not None}


def _user(catalogue: Catalogue, service: str, made: ClusterPlan) -> str | None:
    """The image's default user, as the appliance's definition names it."""
    appliance = made.appliances[service]
    try:
        return catalogue.resolved(appliance).appliance.users.default
    except Problems:
        return None


def _no_list(url: str) -> bytes:
    raise Transient("lists are not fetched for this", where=url)
