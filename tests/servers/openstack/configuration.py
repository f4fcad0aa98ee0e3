"""The configuration files of the services, and the environment in which they find them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from .installation import INSIDE
from .profiles import GLANCES, REGION, State

HOST = "fakehost"
SERVICE = "svc"
"""User, with this password, by which services speak to each other."""

OPEN_TO_ALL = ("context_is_admin", "publicize_image", "communitize_image", "deactivate", "reactivate", "get_images", "add_image", "modify_image")


def environment(state: State, venv: Path, service: str = "") -> dict[str, str]:
    """Environment variables of a service of a cloud, or of a command."""
    folder = Path(state.folder)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OS_") and not name.lower().endswith("_proxy")}
    return {
        **ours,
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(INSIDE),
        "PYTHONWARNINGS": "ignore",
        "PATH": f"{venv / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "OS_KEYSTONE_CONFIG_FILES": str(folder / "keystone" / "keystone.conf"),
        "OS_GLANCE_CONFIG_DIR": str(folder / (service if service in GLANCES else "glance")),
        "OS_PLACEMENT_CONFIG_DIR": str(folder / "placement"),
        "OS_NEUTRON_CONFIG_DIR": "/",
        "OS_NEUTRON_CONFIG_FILES": str(folder / "neutron" / "neutron.conf"),
        "OS_NOVA_CONFIG_DIR": str(folder / "nova"),
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
    }


def write(state: State, venv: Path) -> None:
    """Write all configuration files of a cloud, over those that are there."""
    folder = Path(state.folder)
    stores = [f"{glance}/{part}" for glance in state.glances for part in ("images", "staging", "tasks")]
    for name in ("log", "run", "tmp", *stores, "keystone/fernet", "keystone/credential"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("keystone/fernet", "keystone/credential"):
        (folder / name).chmod(0o700)
    for path, text in _files(state, venv).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    if "nova" in state.services:
        shutil.copy(venv / "etc" / "nova" / "api-paste.ini", folder / "nova" / "api-paste.ini")


def _files(state: State, venv: Path) -> dict[str, str]:
    files = {}
    for glance in state.glances:
        files |= {f"{glance}/glance-api.conf": _glance(state, venv, glance), f"{glance}/glance-image-import.conf": _imports(state)}
    if "keystone" in state.services:
        files["keystone/keystone.conf"] = _keystone(state)
    else:
        # Glance reads a policy.yaml that lies beside its configuration, named there or not
        files["glance/policy.yaml"] = json.dumps(dict.fromkeys(OPEN_TO_ALL, ""))
    if "nova" in state.services:
        files |= {"placement/placement.conf": _placement(state), "neutron/neutron.conf": _neutron(state, venv), "nova/nova.conf": _nova(state)}
    return files


def _log(state: State, name: str) -> str:
    return f"[DEFAULT]\nlog_file = {state.folder}/log/{name}.log\nuse_stderr = false\n"


def _database(state: State, path: str) -> str:
    return f"connection = sqlite:///{state.folder}/{path}\nsqlite_synchronous = false\n"


def _login(state: State) -> str:
    return (
        f"auth_url = {state.url('keystone')}\nauth_type = password\nproject_domain_id = default\nuser_domain_id = default\n"
        f"project_name = service\nusername = {SERVICE}\npassword = {SERVICE}\nregion_name = {REGION}\n"
    )


def _tokens(state: State) -> str:
    return f"[keystone_authtoken]\nwww_authenticate_uri = {state.url('keystone')}\n{_login(state)}"


def _keystone(state: State) -> str:
    return f"""{_log(state, "keystone")}[database]
{_database(state, "keystone/keystone.db")}[fernet_tokens]
key_repository = {state.folder}/keystone/fernet
[credential]
key_repository = {state.folder}/keystone/credential
[token]
expiration = 86400
[identity]
password_hash_rounds = 4
"""


def _glance(state: State, venv: Path, name: str) -> str:
    folder = f"{state.folder}/{name}"
    open_to_all = f"[oslo_policy]\nenforce_new_defaults = false\nenforce_scope = false\npolicy_file = {folder}/policy.yaml\n"
    with_tokens = "keystone" in state.services
    return f"""{_log(state, name)}enabled_backends = local:file
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
worker_self_reference_url = {state.url(name)}
public_endpoint = {state.url(name)}
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = {folder}/images
[os_glance_staging_store]
filesystem_store_datadir = {folder}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {folder}/tasks
[task]
work_dir = {state.folder}/tmp
[paste_deploy]
flavor = {"keystone" if with_tokens else ""}
config_file = {venv}/etc/glance/glance-api-paste.ini
[database]
{_database(state, f"{name}/glance.db")}{_tokens(state) if with_tokens else open_to_all}"""


def _imports(state: State) -> str:
    # loopback is refused unless it is named; no ports named means any port
    filters = "[import_filtering_opts]\nallowed_hosts = [127.0.0.1]\nallowed_ports = []\n"
    if not state.convert:
        return filters
    plugins = "[image_import_opts]\nimage_import_plugins = [image_decompression,image_conversion]\n"
    return f"{filters}{plugins}[image_conversion]\noutput_format = {state.convert}\n"


def _placement(state: State) -> str:
    database = _database(state, "placement/placement.db")
    return f"{_log(state, 'placement')}[placement_database]\n{database}[api]\nauth_strategy = keystone\n{_tokens(state)}"


def _neutron(state: State, venv: Path) -> str:
    return f"""{_log(state, "neutron")}transport_url = fake://
state_path = {state.folder}/neutron
core_plugin = ml2
service_plugins =
auth_strategy = keystone
api_paste_config = {venv}/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
[oslo_messaging_notifications]
driver = noop
[oslo_concurrency]
lock_path = {state.folder}/neutron/lock
[ml2]
type_drivers = local,flat,vlan
tenant_network_types = local
mechanism_drivers = anybind
extension_drivers =
[database]
{_database(state, "neutron/neutron.db")}{_tokens(state)}"""


def _nova(state: State) -> str:
    login = _login(state)
    return f"""{_log(state, "nova")}transport_url = fake://
state_path = {state.folder}/nova
compute_driver = fake.FakeDriverWithoutFakeNodes
report_interval = 5
service_down_time = 31536000
host = {HOST}
my_ip = 127.0.0.1
concurrency_backend = threading
[api]
auth_strategy = keystone
[api_database]
{_database(state, "nova/nova_api.db")}[database]
{_database(state, "nova/nova.db")}[placement]
{login}[neutron]
{login}[glance]
{login}[service_user]
send_service_user_token = true
{login}[vnc]
enabled = false
[scheduler]
discover_hosts_in_cells_interval = 2
[oslo_messaging_notifications]
driver = noop
[oslo_concurrency]
lock_path = {state.folder}/nova/lock
{_tokens(state)}"""
