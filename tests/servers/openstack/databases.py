"""The databases of a cloud: made and filled once, and made right again after they were copied to another folder."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from . import processes
from .configuration import SERVICE
from .keystone import Keystone
from .profiles import ADMIN, REGION, REGIONS, TYPES, State


def create(state: State, venv: Path, held: str) -> None:
    """Make all databases, users and projects; Keystone runs afterwards. Raises NotStarted."""
    folder = Path(state.folder)
    for service in state.services:
        (folder / service).mkdir(exist_ok=True)
    for glance in state.glances:
        processes.command(state, venv, "glance-manage", "--config-file", folder / glance / "glance-api.conf", "db_sync")
    if "keystone" in state.services:
        _keystone(state, venv)
        processes.spawn(state, venv, "keystone", held)
        processes.wait(state, "keystone")
        _fill(state)
    if "nova" in state.services:
        processes.command(state, venv, "placement-manage", "--config-file", folder / "placement" / "placement.conf", "db", "sync")
        processes.command(state, venv, "python", "-m", "neutron_schema", f"sqlite:///{folder}/neutron/neutron.db")
        nova = ("nova-manage", "--config-file", folder / "nova" / "nova.conf")
        processes.command(state, venv, *nova, "api_db", "sync")
        processes.command(state, venv, *nova, "cell_v2", "map_cell0", "--database_connection", f"sqlite:///{folder}/nova/nova_cell0.db")
        processes.command(state, venv, *nova, "db", "sync")
        processes.command(state, venv, *nova, "cell_v2", "create_cell", "--name", "cell1")


def _keystone(state: State, venv: Path) -> None:
    manage = ("keystone-manage", "--config-file", Path(state.folder) / "keystone" / "keystone.conf")
    owner = ("--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
    processes.command(state, venv, *manage, "db_sync")
    processes.command(state, venv, *manage, "fernet_setup", *owner)
    processes.command(state, venv, *manage, "credential_setup", *owner)
    url = state.url("keystone")
    faces = ("--bootstrap-region-id", REGION, "--bootstrap-public-url", url, "--bootstrap-internal-url", url)
    processes.command(state, venv, *manage, "bootstrap", "--bootstrap-password", ADMIN, *faces)


def _fill(state: State) -> None:
    with Keystone(state.url("keystone")) as keystone:
        projects = {name: keystone.create_project(name) for name in ("service", "demo", "other")}
        keystone.create_user(SERVICE, projects["service"], "admin", "service")
        keystone.create_user("demo", projects["demo"], "member")
        keystone.create_user("demo-reader", projects["demo"], "reader")
        keystone.create_user("other", projects["other"], "member")
        for service in state.services:
            if service != "keystone":
                keystone.create_service(service, TYPES[service], state.url(service), REGIONS.get(service, REGION))
    with Keystone(state.url("keystone"), "demo", "demo") as demo:
        state.credential = demo.create_credential("tests")
    state.save()


def relocate(state: State, old: State) -> None:
    """The databases were copied from another folder: they name the ports and the folder that they were made with."""
    folder = Path(state.folder)
    if "keystone" in state.services:
        with closing(sqlite3.connect(folder / "keystone" / "keystone.db")) as database, database:
            for service, port in state.ports.items():
                was = f"127.0.0.1:{old.ports[service]}"
                # a mark, since a new port may be an old one of another service
                database.execute("update endpoint set url = replace(url, ?, ?) where url like ?", (was, f"@@{port}", f"%{was}%"))
            database.execute("update endpoint set url = replace(url, '@@', '127.0.0.1:')")
    if "nova" in state.services:
        with closing(sqlite3.connect(folder / "nova" / "nova_api.db")) as database, database:
            database.execute("update cell_mappings set database_connection = replace(database_connection, ?, ?)", (old.folder, state.folder))


def has_compute_host(state: State) -> bool:
    """Whether the scheduler knows the compute host, without which no server can start."""
    with closing(sqlite3.connect(Path(state.folder) / "nova" / "nova_api.db", timeout=30)) as database:
        return bool(database.execute("select count(*) from host_mappings").fetchone()[0])
