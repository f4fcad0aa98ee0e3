"""Commands of the publisher, run by CI when endorsements arrive and on a schedule: publish."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session, StoreOption, show_error
from vmkeeper.errors import UserError

if TYPE_CHECKING:
    from vmkeeper.execute.publish import Report


def _option(name: str, what: str, setting: str) -> typer.models.OptionInfo:
    variable = f"VMKEEPER_{_screaming(setting)}"
    info = typer.Option(name, help=f"{what} Default: {variable} or git config vmkeeper.{setting}.", show_default=False)
    assert isinstance(info, typer.models.OptionInfo)
    return info


def _screaming(setting: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in setting).upper()


ToOption = Annotated[str | None, _option("--to", "Where to publish: a folder, s3://, sftp:// or https:// address.", "public")]
CredentialsOption = Annotated[Path | None, _option("--to-credentials", "YAML file with what that place asks for.", "publicCredentials")]
CertificateOption = Annotated[Path | None, _option("--certificate", "PEM file with the publisher's certificate and its chain.", "certificate")]
KeyOption = Annotated[Path | None, _option("--key", "PEM file with the certificate's key.", "key")]
Pkcs12Option = Annotated[Path | None, _option("--pkcs12", "PKCS #12 file with certificate and key.", "pkcs12")]
PasswordOption = Annotated[
    Path | None,
    _option(
        "--password-file", "File with the password of --pkcs12 or --key; else VMKEEPER_PKCS12_PASSWORD or VMKEEPER_KEY_PASSWORD.", "passwordFile"
    ),
]
SignerOption = Annotated[
    str | None, _option("--signer", "Command that signs for --certificate: text on its standard input, PKCS#7 signature on its output.", "signer")
]
OpenPGPOption = Annotated[str | None, _option("--openpgp-key", "OpenPGP key of your gpg that signs feeds too.", "openpgpKey")]


def publish(
    names: Annotated[list[str] | None, typer.Argument(metavar="[LIST]...", help="Image lists; default: all.", show_default=False)] = None,
    to: ToOption = None,
    to_credentials: CredentialsOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    pkcs12: Pkcs12Option = None,
    password_file: PasswordOption = None,
    signer: SignerOption = None,
    openpgp_key: OpenPGPOption = None,
    revision: Annotated[str, typer.Option("--at", help="The commit to publish from.")] = "HEAD",
    directory: Directory = HERE,
    store: StoreOption = None,
    output: OutputOption = Output.text,
) -> int:
    """Write endorsed images, their signed lists and the other forms of them where a web server gives them out."""
    from vmkeeper.cli.factory import cache_folder
    from vmkeeper.execute import feedsigning
    from vmkeeper.execute.listkey import KeyFiles, list_key
    from vmkeeper.execute.publication import Place, desired
    from vmkeeper.execute.publictarget import open_public
    from vmkeeper.execute.publish import publish as publish_lists

    session = Session(directory, store, output)
    now = session.now
    settings = _Settings(session)
    address = settings.get(to, "public")
    if address is None:
        raise UserError("--to is not given", hint="give --to, set VMKEEPER_PUBLIC, or: git config vmkeeper.public ADDRESS")
    # One way that an option names goes before the others that settings name.
    files = KeyFiles(
        settings.path(certificate, "certificate"),
        settings.path(key, "key"),
        settings.path(pkcs12, "pkcs12") if pkcs12 or not (key or signer) else None,
        settings.path(password_file, "passwordFile"),
        settings.get(signer, "signer") if signer or not key else None,
    )
    hands = feedsigning.Hands(list_key(files, os.environ), feedsigning.openpgp_key(settings.get(openpgp_key, "openpgpKey")))
    head = session.repository.resolve(revision)
    lists, others = desired(session.catalogue(head), head, tuple(names or ()), now, session.authorities)
    with closing(open_public(address, settings.path(to_credentials, "publicCredentials"), os.environ)) as target:
        place = Place(target, session.store, hands, now, cache_folder())
        report = publish_lists(place, lists, others, head=head, progress=session.progress())
    return _show(session, report)


class _Settings:
    """Options, then the environment, then git config."""

    def __init__(self, session: Session) -> None:
        self._config = session.repository.config

    def get(self, given: object, name: str) -> str | None:
        """A setting's text, None where nothing says it."""
        found = given or os.environ.get(f"VMKEEPER_{_screaming(name)}") or self._config(f"vmkeeper.{name}")
        return str(found) if found else None

    def path(self, given: Path | None, name: str) -> Path | None:
        """A setting that is a file."""
        found = self.get(given, name)
        return Path(found).expanduser() if found else None


def _show(session: Session, report: Report) -> int:
    from vmkeeper.execute.walk import failures
    from vmkeeper.plan.render import as_json

    publication = report.publication
    if session.output is Output.json:
        left_out = [{"list": one.image_list, "appliance": one.appliance, "reason": one.reason} for one in publication.left_out]
        did = [{"id": outcome.action.id, "outcome": type(outcome).__name__.lower()} for outcome in report.outcomes]
        refused = [{"rule": error.rule, "why": str(error)} for error in publication.refused]
        plans = {"plan": as_json(publication.plan), "beside": as_json(report.beside)}
        session.json({**plans, "outcomes": did, "left_out": left_out, "refused": refused})
        return 1 if failures(report.outcomes) or publication.refused else 0
    for one in publication.left_out:
        session.say(f"left out {one.image_list}: {one.appliance}: {one.reason}")
    if not report.outcomes and not publication.refused:
        session.say("Nothing to publish: every list says what is endorsed.")
    code = session.report(report.outcomes)
    for error in publication.refused:
        show_error(session.err, error)
    return 1 if publication.refused else code
