"""The demo: the whole loop on one machine with commands that anybody can type, everything below one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from vmkeeper.cli.demo_setup import BUILDER, ENDORSER, LIST, PRINCIPAL, SITE, list_signer, new_ssh_key, serve, tailor
from vmkeeper.cli.session import Session
from vmkeeper.errors import UserError
from vmkeeper.model.cluster import Cluster
from vmkeeper.run import program
from vmkeeper.values import visible


class Demo:
    """One run. `folder` holds all it makes: a clone, keys, the store, what is published, the site."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.console = console
        self.repository = folder / "repository"
        self.keys = folder / "keys"
        self.public = folder / "public"
        self.site = folder / "site"
        self.cluster = ""
        self._began = time.monotonic()
        self._number = 0

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        self.console.print(f"   {escape(visible(text))}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A numbered step in plain words, with the time it took."""
        self._number += 1
        began = time.monotonic()
        self.console.print(f"\n[bold cyan]{self._number}. {escape(text)}[/bold cyan]")
        yield
        self.console.print(f"   [green]done in {time.monotonic() - began:.1f} s[/green]")

    def run(self, *words: str, show: bool = True) -> str:
        """Run a vmkeeper command in the clone as a user would, showing what it says; returns its standard output."""
        if show:
            self.console.print(f"   [bold]$ vmkeeper {escape(' '.join(words))}[/bold]")
        process = subprocess.Popen(
            [sys.executable, "-m", "vmkeeper", *words],
            cwd=self.repository,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if show else subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if show:
                self.say(line.rstrip("\n"))
        errors = process.stderr.read() if process.stderr else ""
        if process.wait() != 0:
            raise UserError(f"vmkeeper {' '.join(words)} ended with status {process.returncode}", why=errors.strip(), hint="what it said is above")
        return "".join(lines)

    def git(self, *words: str) -> None:
        """Run a git command in the clone."""
        subprocess.run([program("git"), *words], cwd=self.repository, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def _environment(self) -> dict[str, str]:
        ours = {"VMKEEPER_STORE": "store", "VMKEEPER_CACHE": "cache", "VMKEEPER_PUBLIC": "public", "VMKEEPER_SITE_HOME": "site"}
        certificate = {"VMKEEPER_CERTIFICATE": str(self.keys / "list.pem"), "VMKEEPER_KEY": str(self.keys / "list.key")}
        return {**os.environ, **certificate, **{name: str(self.folder / path) for name, path in ours.items()}, "PYTHONUNBUFFERED": "1"}

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began


def run_demo(session: Session, folder: Path, *, keep: bool, everything: bool) -> None:
    """Run the whole loop below `folder`, which must not be there yet; whatever happens, no process is left behind."""
    folder = folder.absolute()
    if folder.exists():
        raise UserError("the folder is there already", where=str(folder), hint=f"remove it first: rm -rf {folder}")
    commit = session.repository.head()
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(f"[bold]vmkeeper demo[/bold]: everything is made below {escape(str(folder))}. Nothing else on this machine is changed.")
    demo = Demo(folder, console)
    try:
        _loop(demo, session, commit, everything=everything)
    finally:
        _clean_up(demo, keep=keep)
    console.print(f"\n[bold green]The loop is closed.[/bold green] From a commit to a running, endorsed, approved image in {demo.seconds:.0f} s.")
    if keep:
        console.print(f"   The images and their signed list are in {escape(str(demo.public))}; look around, then: rm -rf {escape(str(folder))}")
    else:
        console.print("   The folder was removed. To keep it and boot the images by hand: make demo KEEP=1")


def _loop(demo: Demo, session: Session, commit: str, *, everything: bool) -> None:
    with demo.step("Clone the repository, so that yours stays as it is, and make keys for everybody who takes part"):
        demo.folder.mkdir(parents=True)
        demo.public.mkdir()
        subprocess.run([program("git"), "clone", "--quiet", str(session.repository.folder), str(demo.repository)], check=True)
        demo.git("switch", "--quiet", "--force-create", "main", commit)
        keys = {name: new_ssh_key(demo.keys / name) for name in (PRINCIPAL, BUILDER, ENDORSER)}
        new_ssh_key(demo.keys / "user")
        list_signer(demo.keys)
        demo.say(f"{PRINCIPAL} says who may endorse, {BUILDER} builds, {ENDORSER} endorses images, all with SSH keys;")
        demo.say("the publisher signs image lists with a certificate; you log in with a key.")
    with serve(demo.public) as url:
        with demo.step("Say in git who endorses and where images are published"):
            left_out = () if everything else _leave_out(demo)
            documents = tailor(demo.repository, keys, url, without=left_out)
            demo.git("config", "user.name", "vmkeeper demo")
            demo.git("config", "user.email", "demo@localhost")
            demo.git("config", "gpg.format", "ssh")
            demo.git("config", "user.signingKey", str(demo.keys / ENDORSER))
            demo.git("config", "vmkeeper.builderKey", str(demo.keys / BUILDER))
            demo.git("commit", "--quiet", "--all", "--message", "demo: its own endorser and address")
            demo.say(f"Committed {', '.join(documents)}.")
            if left_out:
                demo.say(f"Left out to keep it short: {', '.join(left_out)}. With everything: make demo ALL=1")
        with demo.step("Put the policy in force: its principal signs who may endorse and who builds"):
            demo.run("policy", "sign", "--key", str(demo.keys / PRINCIPAL), "--yes")
        _produce(demo)
        _run_at_site(demo)


def _leave_out(demo: Demo) -> tuple[str, ...]:
    """Take the appliances that no cluster here stands on out of the clone; returns their names."""
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.repository.tree import Repository

    repository = Repository.open(demo.repository)
    catalogue = Catalogue.at(repository, repository.head())
    wanted = {service.appliance.name for cluster in _clusters(demo).values() for service in cluster.services.values()}
    kept = {member for name in wanted for member in catalogue.chain(name)}
    kept |= {tools for name in kept if (tools := catalogue.resolved(name).appliance.builder.tools)}
    gone = tuple(name for name in catalogue.names("appliances") if name not in kept)
    for name in gone:
        demo.git("rm", "-r", "--quiet", f"appliances/{name}")
    return gone


def _produce(demo: Demo) -> None:
    with demo.step("Lock the newest packages of the distribution"):
        demo.run("refresh", "--commit")
        demo.run("check")
    with demo.step("Plan, then build every image that changed, boot it as a user would, test it and record the release"):
        demo.run("plan")
        demo.run("apply")
    with demo.step("Endorse: a person looks at the evidence and signs a tag"):
        for name in listed(demo):
            demo.run("endorse", name, "--valid", "30d", "--yes")
    with demo.step("Publish the image list, signed as every HEPiX site expects"):
        demo.run("publish")
        demo.run("freshness", "--public", str(demo.public))


def _run_at_site(demo: Demo) -> None:
    with demo.step("Set up a cloud site on this machine: it pins whom it trusts"):
        demo.run(
            "site", "init", SITE, "--ca", str(demo.keys / "ca.pem"), "--signer", str(demo.keys / "list.pem"), "--allow-host", "127.0.0.1", "--yes"
        )
    with demo.step("Reconcile: fetch, verify, and register what is endorsed and approved; a second run has nothing to do"):
        demo.run("reconcile", SITE)
        demo.run("reconcile", SITE)
    with demo.step("Start a cluster from the image and ask the machine itself"):
        demo.cluster = placed_cluster(demo)
        demo.run("cluster", "up", demo.cluster, "--site", SITE, "--ssh-key", str(demo.keys / "user.pub"))
        ask(demo)
    with demo.step("Why may it run here, and who stands behind the machine that runs?"):
        demo.run("why", appliance_of(demo), "--site", SITE)
        demo.run("log", appliance_of(demo), "--site", SITE)
    with demo.step("Audit it as an outsider would, with nothing but the pins"):
        demo.run("verify", "--pins", str(demo.site / "pins.yaml"))


def _clean_up(demo: Demo, *, keep: bool) -> None:
    if demo.cluster:
        with demo.step("Clean up"):
            demo.run("cluster", "down", demo.cluster, "--site", SITE)
    if not keep and demo.folder.exists():
        shutil.rmtree(demo.folder)


def _shown(demo: Demo, *words: str) -> dict[str, object]:
    found = json.loads(demo.run(*words, "--output", "json", show=False))
    assert isinstance(found, dict)
    return found


def listed(demo: Demo) -> tuple[str, ...]:
    """The appliances that the image list publishes."""
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.repository.tree import Repository

    repository = Repository.open(demo.repository)
    found = Catalogue.at(repository, repository.head()).image_list(LIST)
    assert found is not None
    return tuple(entry.appliance for entry in found.appliances)


def _clusters(demo: Demo) -> dict[str, Cluster]:
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.repository.tree import Repository

    repository = Repository.open(demo.repository)
    catalogue = Catalogue.at(repository, repository.head())
    return {name: cluster for name in catalogue.names("clusters") if (cluster := catalogue.cluster(name))}


def placed_cluster(demo: Demo) -> str:
    """The first cluster that is placed at the demo's site."""
    found = next((name for name, cluster in _clusters(demo).items() if any(p.site == SITE for p in cluster.placement)), None)
    if found is None:
        raise UserError(f"no cluster is placed at {SITE}", where="clusters/")
    return found


def appliance_of(demo: Demo) -> str:
    """The appliance that the cluster's first service runs."""
    return next(iter(_clusters(demo)[demo.cluster].services.values())).appliance.name


QUESTIONS = ("uname -srm", ". /etc/os-release; echo $PRETTY_NAME", "cat /etc/vmkeeper/appliance.json", "systemctl is-system-running", "uptime -p")


def ask(demo: Demo, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> None:
    """Log in to the cluster's first machine over SSH and let it answer."""
    machines = _shown(demo, "cluster", "status", demo.cluster, "--site", SITE)["machines"]
    assert isinstance(machines, list)
    host, port = machines[0]["ports"]["22"]
    known = demo.keys / "known_hosts"
    options = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=accept-new", "BatchMode=yes", "LogLevel=ERROR"]
    command = [
        program("ssh", package="openssh-client"),
        "-i",
        str(demo.keys / "user"),
        "-p",
        str(port),
        *(word for option in options for word in ("-o", option)),
        f"debian@{host}",
    ]
    for question in QUESTIONS:
        demo.console.print(f"   [bold]$ ssh -p {port} debian@{host} {escape(repr(question))}[/bold]")
        answer = run([*command, question], capture_output=True, text=True, timeout=60, check=False)
        for line in (answer.stdout + answer.stderr).splitlines():
            demo.say(line)
        if answer.returncode not in (0, 1):
            raise UserError(f"the machine did not answer {question!r}", why=answer.stderr.strip())
