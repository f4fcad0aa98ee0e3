"""EC2: one cloud for each region that a site names."""

from __future__ import annotations

from collections.abc import Mapping

try:
    import boto3  # noqa: F401 - only to say so early where it is missing
except ImportError as error:
    from vmkeeper.errors import EnvironmentLacks

    raise EnvironmentLacks("EC2 needs boto3, which is not installed", hint="pip install 'vmkeeper[ec2]'") from error

from vmkeeper.clouds.account import Account, owner_of
from vmkeeper.clouds.ec2.images import Ec2Images
from vmkeeper.clouds.ec2.machines import Ec2Machines
from vmkeeper.clouds.ec2.session import Pace, Session
from vmkeeper.clouds.interface import Cloud
from vmkeeper.model.platform import Ec2Place, Ec2Platform


class Ec2Cloud(Ec2Images, Ec2Machines):
    """One region as one owner sees it. See `clouds.interface.Cloud`."""

    def __init__(self, session: Session, owner: str, *, bucket: str, prefix: str = "vmkeeper/", role: str | None = None) -> None:
        """`bucket`, `prefix`: where files lie while they are imported. `role`: of VM import; None is EC2's own default, vmimport."""
        Ec2Images.__init__(self, session, owner, bucket=bucket, prefix=prefix, role=role)
        Ec2Machines.__init__(self, session, owner)


def places(platform: Ec2Platform, account: Account, pace: Pace | None = None) -> Mapping[str, Cloud]:
    """A cloud for each place, "" where there is one only. Nothing is asked before the first call."""
    several = len(platform.places) > 1
    names = {place.name if several else "": place for place in platform.places}
    return {
        name: Ec2Cloud(
            _session(platform, place, account, pace or Pace()),
            owner_of(account.site, name),
            bucket=place.bucket,
            prefix=platform.prefix,
            role=platform.role,
        )
        for name, place in names.items()
    }


def _session(platform: Ec2Platform, place: Ec2Place, account: Account, pace: Pace) -> Session:
    credentials = platform.credentials
    return Session(
        region=place.region,
        endpoint=platform.endpoint,
        profile=platform.profile,
        login=(lambda: account.login(credentials)) if credentials else (lambda: None),
        named=f"credentials/{credentials}.yaml" if credentials else "",
        pace=pace,
    )
