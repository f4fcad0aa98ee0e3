"""Objects as the XML that oned 6.10 and 7.4 answer."""

from __future__ import annotations

from xml.sax.saxutils import escape

from .addresses import holds
from .objects import Datastore, DocumentObject, Group, Host, Image, Machine, Network, Rule, Thing, User, VmTemplate
from .quotas import limits_xml
from .store import Store
from .template import Template, cdata, group_xml

_RIGHTS = [f"{who}_{what}" for who in ("OWNER", "GROUP", "OTHER") for what in "UMA"]
_SNAPSHOTS = "<ALLOW_ORPHANS><![CDATA[NO]]></ALLOW_ORPHANS><CURRENT_BASE><![CDATA[-1]]></CURRENT_BASE><NEXT_SNAPSHOT><![CDATA[0]]></NEXT_SNAPSHOT>"
_NO_QUOTAS = "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA><VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"
_SHORT_DISK = [
    "DISK_ID",
    "DATASTORE",
    "DATASTORE_ID",
    "IMAGE",
    "IMAGE_ID",
    "SIZE",
    "TYPE",
    "CLONE",
    "CLONE_TARGET",
    "LN_TARGET",
    "DISK_SNAPSHOT_TOTAL_SIZE",
]
_SHORT_NIC = ["NIC_ID", "NETWORK", "NETWORK_ID", "IP", "MAC", "SECURITY_GROUPS"]


def element(name: str, *parts: object) -> str:
    return f"<{name}>{''.join(map(str, parts))}</{name}>"


def ids(name: str, values: list[int]) -> str:
    return element(name, *(f"<ID>{oid}</ID>" for oid in sorted(values)))


def pool(name: str, bodies: list[str], *after: str) -> str:
    return element(name, *bodies, *after)


def xml(thing: Thing, store: Store, *, modern: bool) -> str:
    """The whole object, as `one.KIND.info` answers."""
    match thing:
        case Image():
            return image(thing, store, modern=modern)
        case VmTemplate():
            return element("VMTEMPLATE", _head(thing), element("REGTIME", thing.created), _template(thing.template))
        case Machine():
            return machine(thing, modern=modern)
        case Datastore():
            return datastore(thing)
        case User():
            default = element("DEFAULT_USER_QUOTAS", _NO_QUOTAS)
            return user(thing, limits_xml(store, thing) + default)
        case Group():
            return group(thing, store, limits_xml(store, thing) + element("DEFAULT_GROUP_QUOTAS", _NO_QUOTAS))
        case Network():
            return network(thing)
        case DocumentObject():
            return element("DOCUMENT", _head(thing, f"<TYPE>{thing.type}</TYPE>"), _template(thing.template))
        case Host():
            return host(thing)
        case Rule():
            return element("ACL", element("ID", thing.id), element("STRING", escape(f"{thing.whom} {'+'.join(thing.kinds)}/{thing.which}")))
    return element(thing.upper, element("ID", thing.id), element("NAME", escape(thing.name)), _members(store), _template(thing.template))


def _members(store: Store) -> str:
    kinds = (("HOSTS", "host"), ("DATASTORES", "datastore"), ("VNETS", "vn"))
    return "".join(ids(name, [thing.id for thing in store.all(kind)]) for name, kind in kinds)


def _head(thing: Thing, after_name: str = "") -> str:
    owner = element("ID", thing.id) + element("UID", thing.uid) + element("GID", thing.gid)
    names = element("UNAME", escape(thing.uname)) + element("GNAME", escape(thing.gname)) + element("NAME", escape(thing.name))
    lock = ""
    if thing.lock:
        lock = element("LOCK", *(element(name, value) for name, value in zip(("LOCKED", "OWNER", "TIME", "REQ_ID"), thing.lock, strict=True)))
    rights = element("PERMISSIONS", *(element(name, value) for name, value in zip(_RIGHTS, thing.rights, strict=True)))
    return owner + names + after_name + lock + rights


def _template(template: Template, name: str = "TEMPLATE") -> str:
    return element(name, template.xml())


def image(it: Image, store: Store, *, modern: bool) -> str:
    place = store.datastore(it.datastore)
    return element(
        "IMAGE",
        _head(it),
        element("TYPE", it.type),
        "<DISK_TYPE>0</DISK_TYPE>",
        element("PERSISTENT", int(it.persistent)),
        element("REGTIME", it.created),
        element("MODTIME", it.modified) if modern else "",
        element("SOURCE", cdata(it.source)),
        element("PATH", cdata(it.path)),
        element("FORMAT", cdata(it.format)),
        element("FS", cdata(it.fs)),
        element("SIZE", it.size),
        element("STATE", it.state),
        element("PREV_STATE", it.previous),
        element("RUNNING_VMS", len(it.vms)),
        element("CLONING_OPS", len(it.clones)),
        element("CLONING_ID", it.cloning),
        "<TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT>",
        element("DATASTORE_ID", it.datastore),
        element("DATASTORE", escape(place.name)),
        ids("VMS", it.vms),
        ids("CLONES", it.clones),
        "<APP_CLONES></APP_CLONES>",
        _template(it.template),
        element("SNAPSHOTS", _SNAPSHOTS),
        "<BACKUP_INCREMENTS></BACKUP_INCREMENTS><BACKUP_DISK_IDS></BACKUP_DISK_IDS>",
    )


def datastore(it: Datastore) -> str:
    return element(
        "DATASTORE",
        _head(it),
        element("DS_MAD", cdata(it.ds_mad)),
        element("TM_MAD", cdata(it.tm_mad)),
        element("BASE_PATH", cdata(it.base)),
        element("TYPE", it.type),
        "<DISK_TYPE>0</DISK_TYPE>",
        element("STATE", it.state),
        "<CLUSTERS><ID>0</ID></CLUSTERS>",
        element("TOTAL_MB", it.total),
        element("FREE_MB", it.free),
        element("USED_MB", it.used),
        ids("IMAGES", it.images),
        _template(it.template),
    )


def user(it: User, after: str = "") -> str:
    return element(
        "USER",
        element("ID", it.id),
        element("GID", it.gid),
        ids("GROUPS", it.groups),
        element("GNAME", escape(it.gname)),
        element("NAME", escape(it.name)),
        element("PASSWORD", cdata(it.password)),
        element("AUTH_DRIVER", cdata(it.driver)),
        element("ENABLED", int(it.enabled)),
        *(
            element("LOGIN_TOKEN", f"<TOKEN>{escape(token)}</TOKEN><EXPIRATION_TIME>{ends}</EXPIRATION_TIME><EGID>{gid}</EGID>")
            for token, ends, gid in it.tokens
        ),
        _template(it.template),
        after,
    )


def group(it: Group, store: Store, after: str = "") -> str:
    members = [one.id for one in store.users() if it.id in one.groups]
    return element(
        "GROUP",
        element("ID", it.id),
        element("NAME", escape(it.name)),
        _template(it.template),
        ids("USERS", members),
        "<ADMINS></ADMINS>",
        after,
    )


def network(it: Network) -> str:
    ranges = []
    for number, given in enumerate(it.ranges):
        within = [(ip, vm) for ip, vm in sorted(it.leases.items()) if holds(given, ip)]
        leases = [element("LEASE", element("IP", cdata(ip)), element("VM", cdata(vm))) for ip, vm in within]
        ranges.append(element("AR", element("AR_ID", cdata(number)), group_xml(given), element("LEASES", *leases)))
    return element(
        "VNET",
        _head(it),
        "<CLUSTERS><ID>0</ID></CLUSTERS>",
        element("BRIDGE", cdata(it.bridge)),
        "<BRIDGE_TYPE></BRIDGE_TYPE><STATE>1</STATE><PREV_STATE>1</PREV_STATE><PARENT_NETWORK_ID></PARENT_NETWORK_ID>",
        element("VN_MAD", cdata(it.vn_mad)),
        "<PHYDEV></PHYDEV><VLAN_ID></VLAN_ID><OUTER_VLAN_ID></OUTER_VLAN_ID>",
        "<VLAN_ID_AUTOMATIC>0</VLAN_ID_AUTOMATIC><OUTER_VLAN_ID_AUTOMATIC>0</OUTER_VLAN_ID_AUTOMATIC>",
        element("USED_LEASES", len(it.leases)),
        "<VROUTERS></VROUTERS><UPDATED_VMS></UPDATED_VMS><OUTDATED_VMS></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>",
        _template(it.template),
        element("AR_POOL", *ranges),
    )


def host(it: Host) -> str:
    share = (
        f"<MEM_USAGE>0</MEM_USAGE><CPU_USAGE>0</CPU_USAGE><TOTAL_MEM>16777216</TOTAL_MEM><TOTAL_CPU>800</TOTAL_CPU><MAX_MEM>16777216</MAX_MEM>"
        f"<MAX_CPU>800</MAX_CPU><RUNNING_VMS>{len(it.vms)}</RUNNING_VMS><VMS_THREAD>1</VMS_THREAD><DATASTORES><DISK_USAGE><![CDATA[0]]></DISK_USAGE>"
        "<FREE_DISK><![CDATA[20480]]></FREE_DISK><MAX_DISK><![CDATA[20480]]></MAX_DISK><USED_DISK><![CDATA[9720]]></USED_DISK></DATASTORES>"
        "<PCI_DEVICES></PCI_DEVICES>"
    )
    return element(
        "HOST",
        element("ID", it.id),
        element("NAME", escape(it.name)),
        element("STATE", it.state),
        element("PREV_STATE", it.state),
        element("IM_MAD", cdata(it.im_mad)),
        element("VM_MAD", cdata(it.vm_mad)),
        element("CLUSTER_ID", it.cluster),
        "<CLUSTER>default</CLUSTER>",
        element("HOST_SHARE", share),
        ids("VMS", it.vms),
        _template(it.template),
        "<MONITORING></MONITORING>",
    )


def machine(it: Machine, *, modern: bool) -> str:
    """As `one.vm.info` and `one.vmpool.infoextended` answer."""
    running = it.lcm == 3
    return element(
        "VM",
        _head(it),
        element("LAST_POLL", it.placed if running and not modern else 0),
        element("STATE", it.state),
        element("LCM_STATE", it.lcm),
        element("PREV_STATE", it.previous),
        element("PREV_LCM_STATE", it.previous_lcm),
        "<RESCHED>0</RESCHED>",
        element("STIME", it.started),
        element("ETIME", it.ended),
        element("DEPLOY_ID", escape(it.deploy)),
        element("MONITORING", _monitoring(it) if running and not modern else ""),
        "<SCHED_ACTIONS></SCHED_ACTIONS>",
        _template(it.template),
        _template(it.user_template, "USER_TEMPLATE"),
        element("HISTORY_RECORDS", _history(it, modern=modern) if it.host >= 0 else ""),
        "<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS>",
    )


def _monitoring(it: Machine) -> str:
    figures = {"CPU": 0, "DISKRDBYTES": 940, "DISKRDIOPS": 218, "DISKWRBYTES": 593, "DISKWRIOPS": 184, "ID": it.id, "MEMORY": 50462}
    return group_xml({name: str(value) for name, value in {**figures, "NETRX": 4984, "NETTX": 4634, "TIMESTAMP": it.placed}.items()})


def _history(it: Machine, *, modern: bool) -> str:
    driver = it.template.get("TM_MAD_SYSTEM")
    begun = it.placed if it.lcm >= 3 or it.ended else 0
    plan = "<PLAN_ID>-2</PLAN_ID><ACTION_ID>-1</ACTION_ID>" if modern else ""
    return element(
        "HISTORY",
        f"<OID>{it.id}</OID><SEQ>0</SEQ><HOSTNAME>{escape(it.hostname)}</HOSTNAME><HID>{it.host}</HID><CID>0</CID>",
        f"<STIME>{it.placed}</STIME><ETIME>{it.ended}</ETIME><VM_MAD>{cdata('dummy')}</VM_MAD><TM_MAD>{cdata(driver)}</TM_MAD>",
        f"<DS_ID>{it.datastore}</DS_ID>{plan}<PSTIME>{it.placed}</PSTIME><PETIME>{begun}</PETIME><RSTIME>{begun}</RSTIME><RETIME>{it.ended}</RETIME>",
        "<ESTIME>0</ESTIME><EETIME>0</EETIME><ACTION>0</ACTION><UID>-1</UID><GID>-1</GID><REQUEST_ID>-1</REQUEST_ID>",
    )


def short_machine(it: Machine) -> str:
    """As `one.vmpool.info` answers: without rights, user template and most of the template."""
    disks = [element("DISK", _chosen(disk, _SHORT_DISK)) for disk in it.template.groups("DISK")]
    nics = [element("NIC", _chosen(nic, _SHORT_NIC)) for nic in it.template.groups("NIC")]
    sizes = "".join(element(name, escape(it.template.get(name))) for name in ("CPU", "MEMORY", "VCPU"))
    labels = it.user_template.get("LABELS")
    history = ""
    if it.host >= 0:
        history = element(
            "HISTORY",
            f"<OID>{it.id}</OID><SEQ>0</SEQ><HOSTNAME>{cdata(it.hostname)}</HOSTNAME><HID>{it.host}</HID><CID>0</CID><DS_ID>{it.datastore}</DS_ID>",
            f"<VM_MAD>{cdata('dummy')}</VM_MAD><TM_MAD>{cdata(it.template.get('TM_MAD_SYSTEM'))}</TM_MAD><ACTION>{cdata(0)}</ACTION>",
        )
    return element(
        "VM",
        f"<ID>{it.id}</ID><UID>{it.uid}</UID><GID>{it.gid}</GID><UNAME>{escape(it.uname)}</UNAME><GNAME>{escape(it.gname)}</GNAME>",
        element("NAME", escape(it.name)),
        f"<LAST_POLL>0</LAST_POLL><STATE>{it.state}</STATE><LCM_STATE>{it.lcm}</LCM_STATE><RESCHED>0</RESCHED>",
        f"<STIME>{it.started}</STIME><ETIME>{it.ended}</ETIME><DEPLOY_ID>{escape(it.deploy)}</DEPLOY_ID>",
        element("TEMPLATE", sizes, *disks, *nics),
        "<MONITORING/>",
        element("USER_TEMPLATE", element("LABELS", cdata(labels)) if labels else ""),
        element("HISTORY_RECORDS", history),
    )


def _chosen(group: dict[str, str], names: list[str]) -> str:
    return "".join(f"<{name}>{cdata(group[name])}</{name}>" for name in names if name in group)
