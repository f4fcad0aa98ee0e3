"""The clouds there are: one folder or file each, one entry here."""

from __future__ import annotations

from collections.abc import Mapping

from vmkeeper.clouds.account import Account, owner_of
from vmkeeper.clouds.interface import Cloud
from vmkeeper.model.platform import Ec2Platform, LocalPlatform, OpenNebulaPlatform, OpenStackPlatform, Platform

__all__ = ["Account", "connect", "owner_of"]


def connect(platform: Platform, account: Account) -> Mapping[str, Cloud]:
    """The places of a site's cloud by name, in the order of the site's file; "" where there is only one.

    Nothing is asked of the clouds yet: each connects at its first call.
    """
    match platform:
        case LocalPlatform():
            from vmkeeper.clouds.local import LocalCloud

            return {"": LocalCloud(account.folder, owner=owner_of(account.site), platform=platform)}
        case OpenStackPlatform():
            from vmkeeper.clouds.openstack.cloud import places as openstack_places

            return openstack_places(platform, account)
        case OpenNebulaPlatform():
            from vmkeeper.clouds.opennebula.cloud import places as opennebula_places

            return opennebula_places(platform, account)
        case Ec2Platform():
            from vmkeeper.clouds.ec2.cloud import places as ec2_places

            return ec2_places(platform, account)
