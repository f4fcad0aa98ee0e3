"""Images on their way to a site: the way with the fewest bytes first, every fallback told, nothing twice, in any format."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from conformance.trust.cases_images import STREAM, appliance, made, manifest, raw, tar
from support.webserver import Page, WebServer
from vmkeeper.clouds.interface import ImageSpec, SourceFile
from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.execute.transfer import Brought, Means, Transfer, wanted_parts
from vmkeeper.images import patch
from vmkeeper.images.cache import ImageCache
from vmkeeper.images.convert import Disk, same_content
from vmkeeper.images.fetch import Patience
from vmkeeper.images.files import hash_file
from vmkeeper.images.jail import can_jail
from vmkeeper.images.web import Credentials, Unavailable
from vmkeeper.model.appliance import Format
from vmkeeper.model.site import Transfers
from vmkeeper.plan.site import RegisterImage
from vmkeeper.plan.supply import SuppliedFile, SuppliedPatch, Supply
from vmkeeper.values import Duration, Size, Version, parse_time

UUID = "0b0f8a0e-3c1c-4f5e-8b7a-2f8b3f0f7a21"
HOSTS = ("127.0.0.1", "localhost")
QUICK = Patience(connect=5, idle=2, retries=1, backoff=0)


class Told:
    """What was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, subject: str, text: str) -> None:
        assert subject == "debian-12 1"
        self.lines.append(text)

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        assert 0 <= done <= total

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Place:
    """A site's cache and a web server."""

    def __init__(self, folder: Path, web: WebServer) -> None:
        self.folder = folder
        self.web = web
        self.cache = ImageCache(folder / "cache", size=Size.parse("1GiB"), age=Duration.parse("60d"))
        self.told = Told()

    def transfer(self, **means: object) -> Transfer:
        given = {"allow": HOSTS, "patience": QUICK, **means}
        return Transfer(self.cache, Means(**given), self.told)  # type: ignore[arg-type]

    def bring(self, action: RegisterImage, **means: object) -> tuple[bytes, ImageSpec]:
        with self.transfer(**means)(action) as brought:
            return self.read(brought)

    @staticmethod
    def read(brought: Brought) -> tuple[bytes, ImageSpec]:
        data = brought.file.read_bytes()
        assert (len(data), hashlib.sha512(data).hexdigest()) == (brought.spec.size, brought.spec.sha512)
        return data, brought.spec

    def leftovers(self) -> list[str]:
        incoming = self.cache.incoming
        return sorted(path.name for path in incoming.iterdir()) if incoming.is_dir() else []

    def asked(self) -> list[str]:
        return [request.path for request in self.web.requests]


@pytest.fixture
def place(tmp_path: Path):
    with WebServer() as web:
        yield Place(tmp_path, web)


def supplied(data: bytes, uri: str) -> SuppliedFile:
    return SuppliedFile(uri=uri, size=Size(len(data)), sha512=hashlib.sha512(data).hexdigest())


def action(
    data: bytes, uri: str, *, form: str = "qcow2", store_as: Format | None = None, virtual: int | None = None, **supply: object
) -> RegisterImage:
    """The registration of a signed file with these bytes."""
    digest = hashlib.sha512(data).hexdigest()
    spec = ImageSpec(
        name="debian-12-1",
        appliance="debian-12",
        uuid=UUID,
        version=Version("1"),
        format=store_as or form,  # type: ignore[arg-type]
        size=Size(len(data)),
        virtual_size=Size(len(raw()) if virtual is None else virtual),
        sha512=digest,
        list=UUID,
        expires=parse_time("2027-05-01T00:00:00Z"),
        source=SourceFile(format=form, size=Size(len(data)), sha512=digest) if store_as else None,
    )
    return RegisterImage(subject="debian-12 1", reason="new", spec=spec, supply=Supply(uri=uri, **supply), store_as=store_as)


def newer() -> bytes:
    """The disk with a little changed."""
    disk = bytearray(raw())
    disk[MIDDLE : MIDDLE + 3000] = Random(3).randbytes(3000)
    return bytes(disk)


MIDDLE = (2 << 20) + 70_000


# -- ways


def test_the_whole_file_as_it_comes(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data))
    assert place.bring(given) == (data, given.spec)
    assert place.leftovers() == []
    assert "fetching the image from http://127.0.0.1" in str(place.told)


def test_what_is_in_the_cache_does_not_come_again(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data))
    first = place.bring(given)
    assert place.bring(given) == first
    assert place.asked() == ["/image"]


def test_what_was_spoilt_in_the_cache_comes_again(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data))
    place.bring(given)
    path = place.cache.path(given.spec.sha512)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(data[:-1] + b"!")
    assert place.bring(given)[0] == data
    assert place.asked() == ["/image", "/image"]


def test_a_file_that_the_cloud_refuses_is_not_kept(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data))
    with pytest.raises(Refused), place.transfer()(given):
        raise Refused("R14", "other bytes")
    assert place.cache.path(given.spec.sha512) is None
    with pytest.raises(Transient), place.transfer()(given):
        raise Transient("the cloud is busy")
    assert place.cache.path(given.spec.sha512) is not None


@pytest.fixture
def patched(place: Place) -> RegisterImage:
    """A registration of `newer` by a patch from `raw`, which is in the cache."""
    base, new, file = place.folder / "base", place.folder / "new", place.folder / "patch"
    base.write_bytes(raw())
    new.write_bytes(newer())
    made_ = patch.make(base, new, file, memory=Size.parse("1GiB"))
    assert made_ is not None
    place.cache.keep(base, hash_file(base))
    data = file.read_bytes()
    uri = place.web.serve("/patch", data)
    offered = SuppliedPatch(
        **supplied(data, uri).model_dump(), base_sha512=hashlib.sha512(raw()).hexdigest(), base_size=len(raw()), memory=made_.memory
    )
    return action(newer(), place.web.serve("/image", newer()), form="raw", patches=(offered,))


def test_a_patch_comes_in_place_of_the_file(place: Place, patched: RegisterImage) -> None:
    data, _ = place.bring(patched)
    assert data == newer()
    assert place.asked() == ["/patch"]
    assert "made of a patch of" in str(place.told)
    assert place.leftovers() == []


def change(place: Place, path: str) -> None:
    page = place.web.pages[path]
    page.data = page.data[:-1] + bytes([page.data[-1] ^ 1])


def spoil(place: Place) -> None:
    path = place.cache.path(hashlib.sha512(raw()).hexdigest())
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(raw()[: 2 << 20] + bytes(2 << 20))


FAULTS: dict[str, tuple[Callable[[Place], None], str]] = {
    "the patch is gone": (lambda place: place.web.pages.pop("/patch") and None, "the server answered 404"),
    "the patch has other bytes": (lambda place: change(place, "/patch"), "R14"),
    "the patch's server sends for ever": (lambda place: setattr(place.web.pages["/patch"], "endless", True), "R25"),
    "the patch's server is broken": (lambda place: place.web.pages["/patch"].statuses.extend([503] * 5), "503"),
    "the base was spoilt": (spoil, "did not serve"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_a_patch_does_not_serve_the_whole_file_comes(fault: str, place: Place, patched: RegisterImage) -> None:
    spoil_it, said = FAULTS[fault]
    spoil_it(place)
    data, _ = place.bring(patched)
    assert data == newer()
    assert place.asked()[-1] == "/image"
    assert "did not serve" in str(place.told)
    assert said in str(place.told)
    assert (place.cache.path(hashlib.sha512(raw()).hexdigest()) is None) == (fault == "the base was spoilt")


@pytest.mark.parametrize(
    "settings", [Transfers(patches=False), Transfers(patch_memory=Size(1))], ids=["patches are switched off", "it would take too much memory"]
)
def test_a_patch_that_may_not_be_used_is_not_fetched(settings: Transfers, place: Place, patched: RegisterImage) -> None:
    place.bring(patched, settings=settings)
    assert place.asked() == ["/image"]


def test_a_patch_for_a_file_that_is_not_here_is_not_fetched(place: Place, patched: RegisterImage) -> None:
    place.cache.drop(hashlib.sha512(raw()).hexdigest())
    place.bring(patched)
    assert place.asked() == ["/image"]


def compressed(place: Place, data: bytes) -> SuppliedFile:
    (place.folder / "plain").write_bytes(data)
    patch.compress(place.folder / "plain", place.folder / "packed")
    packed = (place.folder / "packed").read_bytes()
    return supplied(packed, place.web.serve("/image.zst", packed))


def test_the_compressed_file_comes_in_place_of_the_whole_one(place: Place) -> None:
    given = action(raw(), place.web.serve("/image", raw()), form="raw", compressed=compressed(place, raw()))
    assert place.bring(given)[0] == raw()
    assert place.asked() == ["/image.zst"]
    assert place.leftovers() == []


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_where_the_compressed_file_does_not_serve_the_whole_one_comes(fault: str, place: Place) -> None:
    given = action(raw(), place.web.serve("/image", raw()), form="raw", compressed=compressed(place, raw()))
    if fault == "gone":
        del place.web.pages["/image.zst"]
    else:
        change(place, "/image.zst")
    assert place.bring(given)[0] == raw()
    assert place.asked() == ["/image.zst", "/image"]
    assert "did not serve" in str(place.told)


def test_a_compressed_file_that_gives_another_image_is_passed_over(place: Place) -> None:
    given = action(newer(), place.web.serve("/image", newer()), form="raw", compressed=compressed(place, raw()))
    assert place.bring(given)[0] == newer()
    assert "R14" in str(place.told)
    assert place.leftovers() == []


def test_a_compressed_file_that_is_no_smaller_is_not_fetched(place: Place) -> None:
    data = made("qcow2")
    large = SuppliedFile(uri=place.web.serve("/image.zst", b"x"), size=Size(len(data)), sha512="0" * 128)
    place.bring(action(data, place.web.serve("/image", data), compressed=large))
    assert place.asked() == ["/image"]


def test_what_was_brought_on_a_disk_needs_no_network(place: Place) -> None:
    data = made("qcow2")
    (place.folder / "carried").write_bytes(data)
    given = action(data, "http://127.0.0.1:9/none")
    assert place.bring(given, carried=lambda sha512: place.folder / "carried" if sha512 == given.spec.sha512 else None)[0] == data
    assert (place.folder / "carried").read_bytes() == data


def test_where_the_disk_has_other_bytes_the_network_serves(place: Place) -> None:
    data = made("qcow2")
    (place.folder / "carried").write_bytes(data[:-1] + b"!")
    given = action(data, place.web.serve("/image", data))
    assert place.bring(given, carried=lambda _: place.folder / "carried")[0] == data
    assert "brought here on a disk did not serve" in str(place.told)


@pytest.mark.parametrize(("page", "error"), [({"data": b"x"}, Refused), ({"statuses": [404]}, Unavailable), ({"statuses": [503] * 9}, Transient)])
def test_where_no_way_serves_the_last_error_is_told(page: dict, error: type[VmkeeperError], place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", **page))
    with pytest.raises(error):
        place.bring(given)
    assert place.leftovers() == []
    assert place.cache.path(given.spec.sha512) is None


def test_the_parts_that_are_worth_keeping(place: Place, patched: RegisterImage) -> None:
    assert wanted_parts(patched) == {patched.spec.sha512, patched.supply.patches[0].sha512}


# -- formats

INPUTS: dict[str, Callable[[], bytes]] = {
    "ova": lambda: tar(appliance(manifest())),
    "vmdk": lambda: made(*STREAM),
    "raw.gz": lambda: gzip.compress(raw()),
    "vhdx": lambda: made("vhdx"),
}


@pytest.mark.parametrize("store_as", ["qcow2", "raw", "vdi", "ova"])
@pytest.mark.parametrize("form", INPUTS)
def test_an_image_is_converted_once(form: str, store_as: Format, place: Place) -> None:
    if form == store_as:
        pytest.skip("nothing to convert")
    data = INPUTS[form]()
    given = action(data, place.web.serve("/image", data), form=form, store_as=store_as)
    first, spec = place.bring(given)
    assert (spec.format, spec.source, spec.virtual_size) == (store_as, given.spec.source, len(raw()))
    assert spec.key == given.spec.key
    before = len(place.told.lines)
    assert place.bring(given) == (first, spec)
    assert place.asked() == ["/image"]
    assert place.told.lines[before:] == [f"converted to {store_as} before"]
    place.cache.drop(spec.sha512)
    assert place.bring(given) == (first, spec)
    assert place.asked() == ["/image"]
    assert place.leftovers() == []


def test_both_files_are_in_the_cache_afterwards(place: Place) -> None:
    data = INPUTS["ova"]()
    given = action(data, place.web.serve("/image", data), form="ova", store_as="raw")
    _, spec = place.bring(given)
    converted, signed = place.cache.path(spec.sha512), place.cache.path(given.spec.signed.sha512)
    assert converted is not None
    assert signed is not None
    (place.folder / "raw").write_bytes(raw())
    assert same_content(Disk(converted, "raw"), Disk(place.folder / "raw", "raw"))


def test_a_converted_file_that_the_cloud_refuses_is_made_again(place: Place) -> None:
    data = INPUTS["vmdk"]()
    given = action(data, place.web.serve("/image", data), form="vmdk", store_as="raw")
    first, spec = place.bring(given)
    path = place.cache.path(spec.sha512)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(first[:-1] + b"!")
    with pytest.raises(Refused), place.transfer()(given) as brought:
        raise Refused("R14", f"not {brought.spec.sha512}")
    assert place.bring(given) == (first, spec)
    assert place.asked() == ["/image"]


@pytest.mark.parametrize("store_as", [None, "raw"])
def test_a_guest_sees_as_much_as_was_signed_for(store_as: Format | None, place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data), store_as=store_as, virtual=len(raw()) + 512)
    with pytest.raises(Refused) as error:
        place.bring(given)
    assert error.value.rule == "R14"
    assert "a guest would see" in str(error.value)


def test_where_nothing_was_signed_for_the_lists_cap_holds(place: Place) -> None:
    data = made("qcow2")
    uri = place.web.serve("/image", data)
    _, spec = place.bring(action(data, uri, virtual=0, max_virtual=Size(len(raw()))))
    assert spec.virtual_size == len(raw())
    with pytest.raises(Refused) as error:
        place.bring(action(data, uri, virtual=0, max_virtual=Size(len(raw()) - 512)))
    assert error.value.rule == "R26"


@pytest.mark.parametrize("data", [b"plain text\n" * 999, made("vdi"), made("qcow2")[: 900 << 10]], ids=["text", "another format", "cut"])
def test_what_is_signed_and_no_image_is_refused(data: bytes, place: Place) -> None:
    with pytest.raises(Refused) as error:
        place.bring(action(data, place.web.serve("/image", data)))
    assert error.value.rule == "R26"


# -- converted while it comes


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_jail():
        pytest.skip("programs cannot be confined here (Landlock, user namespaces)")
    monkeypatch.setattr("vmkeeper.images.early.SMALLEST", 0)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("store_as", ["raw", "vmdk", "vdi", "vhd"])
def test_a_large_file_is_converted_while_it_comes(store_as: Format, place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data, pause=lambda _: time.sleep(0.01)), store_as=store_as)
    first, spec = place.bring(given)
    assert "converted while it came" in str(place.told)
    assert place.leftovers() == []
    place.cache.drop(spec.sha512)
    assert place.bring(given) == (first, spec)
    assert str(place.told).count("converted while it came") == 1


@pytest.mark.usefixtures("early")
def test_it_can_be_switched_off(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data), store_as="raw")
    place.bring(given, settings=Transfers(convert_early=False))
    assert "while it came" not in str(place.told)


@pytest.mark.usefixtures("early")
def test_what_is_made_of_other_bytes_is_thrown_away(place: Place) -> None:
    data = made("qcow2")
    other = data[:-5] + b"!" + data[-4:]
    given = action(data, place.web.serve("/image", other), store_as="raw")
    with pytest.raises(Refused) as error:
        place.bring(given)
    assert error.value.rule == "R14"
    assert place.leftovers() == []
    assert not (place.cache.folder / "files").exists()


@pytest.mark.usefixtures("early")
def test_a_download_that_is_cut_and_resumed_is_converted_all_the_same(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data, cuts=[900_000]), store_as="raw")
    assert place.bring(given)[0] == raw()
    assert place.asked() == ["/image", "/image"]
    assert "converted while it came" in str(place.told)


@pytest.mark.usefixtures("early")
def test_a_file_that_changes_between_two_requests_is_converted_afterwards(place: Place) -> None:
    """The second answer is another file from its start: what was read of the first one serves nobody."""
    data = made("qcow2")
    url = place.web.serve("/image", bytes(len(data)), cuts=[900_000])
    given = action(data, url, store_as="raw")
    page = place.web.pages["/image"]
    page.data = data[:600_000] + bytes(len(data) - 600_000)

    def change_after_the_cut(sent: int) -> None:
        if sent >= 800_000 and page.cuts == []:
            page.data, page.etag = data, '"two"'

    page.pause = change_after_the_cut
    assert place.bring(given)[0] == raw()
    assert place.leftovers() == []


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize("way", ["cache", "compressed", "carried"])
def test_a_file_that_comes_another_way_is_converted_afterwards(way: str, place: Place) -> None:
    given = action(raw(), place.web.serve("/image", raw()), form="raw", store_as="qcow2")
    carried = None
    if way == "compressed":
        given = action(raw(), place.web.serve("/image", raw()), form="raw", store_as="qcow2", compressed=compressed(place, raw()))
    elif way == "carried":
        carried = place.folder / "carried"
        carried.write_bytes(raw())
    else:
        with place.transfer()(action(raw(), place.web.serve("/image", raw()), form="raw")):
            pass
    asked = len(place.asked())
    data, _ = place.bring(given, carried=lambda _: carried)
    (place.folder / "qcow2").write_bytes(data)
    (place.folder / "raw").write_bytes(raw())
    assert same_content(Disk(place.folder / "qcow2", "qcow2"), Disk(place.folder / "raw", "raw"))
    assert "while it came" not in str(place.told)
    assert "/image" not in place.asked()[asked:]


# -- credentials


def test_credentials_are_shown_to_their_own_server_only(place: Place) -> None:
    data = made("qcow2")
    secret = "Bearer tops3cret"
    asked: list[tuple[str, str]] = []

    def credentials(name: str, url: str) -> Credentials | None:
        asked.append((name, url))
        return Credentials(place.web.url, secret)

    with WebServer() as other:
        other.serve("/image", data)
        given = action(data, place.web.serve("/image", location=f"{other.url}/image"), credentials="their-token")
        place.bring(given, credentials=credentials)
        assert [request.headers.get("Authorization") for request in place.web.requests] == [secret]
        assert [request.headers.get("Authorization") for request in other.requests] == [None]
    assert asked == [("their-token", f"{place.web.url}/image")]
    assert "tops3cret" not in str(place.told)


def test_credentials_that_are_not_there_are_an_error(place: Place) -> None:
    def credentials(_name: str, _url: str) -> Credentials:
        raise UserError("there are no credentials of this name")

    data = made("qcow2")
    with pytest.raises(UserError, match="no credentials"):
        place.bring(action(data, place.web.serve("/image", data), credentials="none"), credentials=credentials)
    assert place.asked() == []


# -- a full disk


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """The cache on a file system of 2 MiB."""
    place.cache.folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place.cache.folder], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield place.cache.folder
    subprocess.run(["umount", place.cache.folder], check=True)


def test_where_there_is_no_room_for_the_file_nothing_is_left(place: Place, small_disk: Path) -> None:
    given = action(raw(), place.web.serve("/image", raw()), form="raw")
    with pytest.raises(UserError, match="are to come and") as error:
        place.bring(given)
    assert "make room" in error.value.hint
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_where_room_runs_out_meanwhile_nothing_is_left(place: Place, small_disk: Path) -> None:
    data = made("qcow2")

    def fill(sent: int) -> None:
        if sent == 262144:
            (small_disk / "somebody-elses").write_bytes(bytes(1_000_000))

    given = action(data, place.web.serve("/image", data, pause=fill))
    with pytest.raises(UserError) as error:
        place.bring(given)
    assert "make room" in error.value.hint
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["somebody-elses"]
    (small_disk / "somebody-elses").unlink()
    place.web.pages["/image"].pause = lambda _: None
    assert place.bring(given)[0] == data


def test_older_files_make_room_for_newer_ones(place: Place, small_disk: Path) -> None:
    for number in range(4):
        data = raw()[:512] + Random(number).randbytes((1 << 20) - 512)
        assert place.bring(action(data, place.web.serve("/image", data), form="raw", virtual=len(data)))[0] == data
    assert len(list((small_disk / "files").iterdir())) == 1


# -- several at once


class Counting:
    """How many answers are under way at once."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.total = 0
        self.lock = threading.Lock()

    def pause(self, name: str) -> Callable[[int], None]:
        def wait(sent: int) -> None:
            with self.lock:
                if sent == 0:
                    self.now[name] = self.now.get(name, 0) + 1
                    self.most[name] = max(self.most.get(name, 0), self.now[name])
                    self.total = max(self.total, sum(self.now.values()))
            time.sleep(0.05)
            with self.lock:
                if sent + 65536 >= SIZE:
                    self.now[name] -= 1

        return wait


SIZE = 5 << 16


def small(number: int) -> bytes:
    disk = bytearray(Random(number).randbytes(SIZE))
    disk[:512] = raw()[:512]
    return bytes(disk)


@pytest.mark.parametrize(("at_once", "from_one_host"), [(4, 2), (2, 2), (3, 1), (1, 4)])
def test_no_more_come_at_once_than_the_site_says(at_once: int, from_one_host: int, place: Place) -> None:
    counting = Counting()
    actions = []
    for number in range(10):
        host = HOSTS[number % 2]
        data = small(number)
        place.web.serve(f"/{number}", data, pause=counting.pause(host))
        actions.append(action(data, f"http://{host}:{place.web.port}/{number}", form="raw", virtual=SIZE))
    transfer = place.transfer(settings=Transfers(at_once=at_once, from_one_host=from_one_host))

    def bring(one: RegisterImage) -> bytes:
        with transfer(one) as brought:
            return brought.file.read_bytes()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(bring, actions)) == [small(number) for number in range(10)]
    assert counting.total <= at_once
    assert all(most <= from_one_host for most in counting.most.values())


def test_one_image_that_is_wanted_twice_comes_once(place: Place) -> None:
    data = made("qcow2")
    given = action(data, place.web.serve("/image", data, pause=lambda _: time.sleep(0.01)))
    transfer = place.transfer()

    def bring(_: int) -> bytes:
        with transfer(given) as brought:
            return brought.file.read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(bring, range(3))) == {data}
    assert place.asked() == ["/image"]


# -- killed

CHILD = """
import sys
import vmkeeper.images.early
vmkeeper.images.early.SMALLEST = 0
from pathlib import Path
from vmkeeper.execute.transfer import Means, Transfer
from vmkeeper.images.cache import ImageCache
from vmkeeper.plan.site import RegisterImage
from vmkeeper.values import Duration, Size

action = RegisterImage.model_validate_json(sys.stdin.read())
cache = ImageCache(Path(sys.argv[1]), size=Size.parse("1GiB"), age=Duration.parse("60d"))

class Told:
    def step(self, subject, text):
        print(text, flush=True)

    def amount(self, *_):
        pass

with Transfer(cache, Means(allow=("127.0.0.1",)), Told())(action) as brought:
    print("brought", brought.spec.sha512, flush=True)
"""


def killed(place: Place, given: RegisterImage, when: Callable[[str], bool], delay: float) -> None:
    """Run a transfer in a process of its own and kill it with all it started, `delay` seconds after it said something."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, place.cache.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(given.model_dump_json())
    child.stdin.close()
    for line in child.stdout:
        if when(line):
            time.sleep(delay)
            break
    os.kill(child.pid, signal.SIGKILL)
    child.stdout.close()
    child.wait()


@pytest.mark.parametrize("delay", [0, 0.05, 0.3, 1.5])
def test_killed_in_the_middle_of_a_download_the_next_run_goes_on(delay: float, place: Place) -> None:
    data = made("qcow2")
    page = Page(data, pause=lambda _: time.sleep(0.1))
    place.web.pages["/image"] = page
    given = action(data, f"{place.web.url}/image", store_as="raw")
    killed(place, given, lambda line: "fetching" in line, delay)
    page.pause = lambda _: None
    place.cache.tidy(wanted=wanted_parts(given))
    kept = [path for path in place.cache.incoming.glob("*.part") if path.stat().st_size]
    data_, _ = place.bring(given)
    assert hashlib.sha512(data_).hexdigest() == hashlib.sha512(raw()).hexdigest()
    assert place.leftovers() == []
    if kept:
        assert "Range" in place.web.requests[-1].headers


@pytest.mark.parametrize("delay", [0, 0.01, 0.05, 0.1, 0.2, 0.4])
def test_killed_in_the_middle_of_a_conversion_the_next_run_converges(delay: float, place: Place) -> None:
    data = INPUTS["ova"]()
    given = action(data, place.web.serve("/image", data), form="ova", store_as="vdi")
    killed(place, given, lambda line: "converting" in line, delay)
    place.cache.tidy(wanted=wanted_parts(given))
    result, spec = place.bring(given)
    assert place.asked() == ["/image"]
    assert place.leftovers() == []
    assert sorted(path.name for path in (place.cache.folder / "files").iterdir()) == sorted({spec.sha512, given.spec.signed.sha512})
    (place.folder / "raw").write_bytes(raw())
    (place.folder / "vdi").write_bytes(result)
    assert same_content(Disk(place.folder / "vdi", "vdi"), Disk(place.folder / "raw", "raw"))
