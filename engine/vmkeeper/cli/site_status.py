"""vmkeeper status SITE: what the site has at each place of its cloud, and which lists it has seen. Fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.cli.site import HomeOption, SiteName
from vmkeeper.errors import VmkeeperError
from vmkeeper.values import Size, format_time

if TYPE_CHECKING:
    from vmkeeper.clouds.interface import CloudImage, CloudMachine
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.trust.memory import SeenList


def status(name: SiteName, home: HomeOption = None, directory: Directory = HERE, output: OutputOption = Output.text) -> int:
    """Show the images and machines that a site has, and the newest lists it has seen. Fetches nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import site_clouds
    from vmkeeper.execute.statusfiles import read_status
    from vmkeeper.execute.suspension import suspension

    session, folder = Session(directory), SiteHome.of(name, home)
    images: list[tuple[str, CloudImage]] = []
    machines: list[tuple[str, CloudMachine]] = []
    failed: dict[str, VmkeeperError] = {}
    clouds = site_clouds(folder, name)
    for place, cloud in clouds.items():
        try:
            images += [(place, image) for image in cloud.images() if image.owner == cloud.owner and image.spec]
            machines += [(place, machine) for machine in cloud.machines() if machine.owner == cloud.owner]
        except VmkeeperError as error:
            if len(clouds) == 1:
                raise
            failed[place] = error
    lists, said = list(_lists(folder, name)), read_status(folder)
    suspended = suspension(folder, session.now)
    if output is Output.json:
        session.json(
            {
                "version": 1,
                "suspended": suspended.model_dump(mode="json") if suspended else None,
                "last_run": said.run.model_dump(mode="json", include={"began", "ended", "result", "error"}) if said else None,
                "lists": [
                    {"name": n, **({"signer": signer} if signer else {}), **(seen.model_dump(mode="json") if seen else {})}
                    for n, seen, signer in lists
                ],
                "images": [_image(place, image) for place, image in images],
                "machines": [_machine(place, machine) for place, machine in machines],
                **({"failed": {place: str(error) for place, error in failed.items()}} if failed else {}),
            }
        )
        return 1 if failed else 0
    if suspended is not None:
        until = f", until {format_time(suspended.until)}" if suspended.until else ""
        session.say(f"suspended since {format_time(suspended.since)}{until}: {suspended.reason}")
    if said is not None:
        why = f": {said.run.error.what}" if said.run.error else ""
        session.say(f"last run {format_time(said.run.ended)}: {said.run.result}{why}")
    for list_name, seen, signer in lists:
        by = f", signed by {signer}" if signer else ""
        session.say(f"list {list_name}{by}: " + (f"version {seen.version}, until {format_time(seen.expires)}" if seen else "not seen yet"))
    for place, image in images:
        session.say(_said(place, image))
    for place, machine in machines:
        session.say(f"machine {machine.name}{_at(place)}: {machine.state}")
    for place, trouble in failed.items():
        session.warn(f"place {place}: {trouble}")
    if not images and not failed:
        session.say(f"no images yet; bring them with: vmkeeper reconcile {name}")
    return 1 if failed else 0


def _lists(folder: SiteHome, name: str) -> Iterator[tuple[str, SeenList | None, str]]:
    from vmkeeper.execute.observe import site_document

    memory = folder.memory()
    for pin in folder.pins().image_lists:
        yield pin.name, memory.lists.get(pin.uuid), ""
    for one in site_document(folder, name).foreign:
        known = memory.foreign.get(one.name)
        uuid = one.uuid or (known.uuid if known else "")
        yield one.name, memory.lists.get(uuid), one.endorser.dn


def _image(place: str, image: CloudImage) -> dict[str, Any]:
    since = format_time(image.hidden_since) if image.hidden_since else None
    where = {"place": place} if place else {}
    said = {"id": image.id, **where, "state": image.state, "in_use": image.in_use, "hidden_since": since, "drift": list(image.drift)}
    return said | (image.spec.model_dump(mode="json") if image.spec else {})


def _machine(place: str, machine: CloudMachine) -> dict[str, Any]:
    said = {"name": machine.name, "state": machine.state, "cluster": machine.cluster, "service": machine.service, "image": machine.image}
    return {**said, **({"place": place} if place else {})}


def _said(place: str, image: CloudImage) -> str:
    spec = image.spec
    assert spec is not None
    since = f" since {format_time(image.hidden_since)}" if image.hidden_since else ""
    state = f"{image.state}{since}{', in use' if image.in_use else ''}, until {format_time(spec.expires)}"
    alias = f", called {spec.alias}" if spec.alias else ""
    changed = f"; somebody changed it: {'; '.join(image.drift)}" if image.drift else ""
    return f"image {spec.appliance} {spec.version}{_at(place)} ({spec.format}, {Size(spec.size).human}): {state}{alias}{changed}"


def _at(place: str) -> str:
    return f" @{place}" if place else ""
