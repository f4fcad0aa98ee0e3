"""The key that a site signs its reports with: an SSH key without a passphrase, in the site's own folder, readable by its owner alone.

It vouches for what the site says of itself and for nothing else: no policy and no approval knows it.
"""

from __future__ import annotations

from pathlib import Path

from vmkeeper.errors import UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.images.files import reported
from vmkeeper.run import program, run
from vmkeeper.trust.keys import ssh

FOLDER = "keys"
NAME = "report"


def site_key(home: SiteHome, site: str) -> tuple[str, bool]:
    """The public key (`TYPE BASE64`), made where there is none; and whether it was made now. Raises UserError, EnvironmentLacks."""
    home.pins()
    file = _file(home)
    with reported("make the site's key", file.parent):
        file.parent.mkdir(mode=0o700, exist_ok=True)
    made = not file.is_file()
    if made:
        new = file.with_name(f".{NAME}-new")
        for left in (new, new.with_name(f"{new.name}.pub")):
            left.unlink(missing_ok=True)
        run([program("ssh-keygen", package="openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", f"vmkeeper site {site}", "-f", new])
        new.with_name(f"{new.name}.pub").rename(file.with_name(f"{NAME}.pub"))
        new.rename(file)
    return public_key(home), made


def public_key(home: SiteHome) -> str:
    """The public half. Raises UserError where there is no key."""
    return ssh.public_key_of(str(private_file(home)))


def private_file(home: SiteHome) -> Path:
    """The key's file. Raises UserError where there is none, or others can read it."""
    file = _file(home)
    if not file.is_file():
        raise UserError("the site has no key to sign with", where=str(file), hint="make one: vmkeeper site key NAME")
    if file.stat().st_mode & 0o077:
        raise UserError("others can read the site's key", where=str(file), hint=f"chmod 600 {file}")
    return file


def _file(home: SiteHome) -> Path:
    return home.folder / FOLDER / NAME
