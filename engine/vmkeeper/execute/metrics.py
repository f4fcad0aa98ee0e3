"""A site's status as Prometheus metrics: for the textfile collector, or served over HTTP where that was asked for.

Labels are names of the site's file (site, place, list) and of appliances, the latter up to a limit; no versions, ids or texts.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from vmkeeper.errors import UserError
from vmkeeper.images.files import reported, write_file
from vmkeeper.model.status import ImageStatus, Status

MOST_APPLIANCES = 500
"""Appliances that have series of their own; of the others only how many they are."""
PREFIX = "vmkeeper_"


def exposition(status: Status) -> bytes:
    """The metrics as text (Prometheus text format 0.0.4)."""
    return generate_latest(_registry(lambda: status))


def write_metrics(file: Path, status: Status) -> None:
    """Write them for node_exporter's textfile collector, whole or not at all. Raises UserError."""
    with reported("write the metrics", file):
        write_file(file, exposition(status), durable=False)


class MetricsServer:
    """Serves the newest status given to it, at one address and no other."""

    def __init__(self, address: str) -> None:
        """address: `HOST:PORT`, `[V6]:PORT`. Raises UserError where it cannot be listened at."""
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdigit() or not 0 <= int(port) < 65536:
            raise UserError("this is not an address to listen at", where=address, hint="write HOST:PORT, such as 127.0.0.1:9184")
        self._status: Status | None = None
        with reported("listen for the metrics", address):
            server, thread = start_http_server(int(port), addr=host, registry=_registry(lambda: self._status))
        self._server: WSGIServer = server
        self._thread: threading.Thread = thread
        self.port: int = self._server.server_port

    def show(self, status: Status) -> None:
        """Serve this from now on."""
        self._status = status

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _StatusCollector(Collector):
    def __init__(self, current: Callable[[], Status | None]) -> None:
        self._current = current

    def collect(self) -> Iterator[Metric]:
        status = self._current()
        if status is not None:
            yield from _families(status)


def _registry(current: Callable[[], Status | None]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_StatusCollector(current))
    return registry


class _Maker:
    """Makes families whose first label is the site."""

    def __init__(self, site: str) -> None:
        self._site = site

    def gauge(self, name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
        made = GaugeMetricFamily(PREFIX + name, text, labels=("site", *labels))
        for key, value in values.items():
            made.add_metric((self._site, *key), value)
        return made

    def counter(self, name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
        made = CounterMetricFamily(PREFIX + name, text, labels=("site", *labels))
        for key, value in values.items():
            made.add_metric((self._site, *key), value)
        return made

    def one(self, name: str, text: str, value: float | datetime | None) -> Iterator[Metric]:
        """A single gauge; nothing where its value is not known."""
        if value is not None:
            yield self.gauge(name, text, (), {(): value.timestamp() if isinstance(value, datetime) else value})


def _families(status: Status) -> Iterator[Metric]:
    make, run = _Maker(status.site), status.run
    yield make.gauge("site_info", "What the site is.", ("platform", "program"), {(status.platform, status.program): 1})
    yield from make.one("last_run_timestamp_seconds", "End of the last run, whatever came of it.", run.ended)
    yield from make.one("last_success_timestamp_seconds", "End of the last run in which nothing failed.", status.succeeded)
    yield from make.one("failed_runs", "Runs since then that failed.", status.failures)
    yield from make.one("suspended", "1 while the site is suspended.", float(status.suspended is not None))
    if status.suspended is not None:
        yield from make.one("suspended_since_timestamp_seconds", "Since when the site is suspended.", status.suspended.since)
    stages: dict[tuple[str, ...], float] = {(stage,): seconds for stage, seconds in run.seconds.items()}
    yield make.gauge("run_duration_seconds", "How long the last run took, by stage; all is the whole of it.", ("stage",), stages)
    yield from make.one("freshness_timestamp_seconds", "When a builder last said what is there.", status.fresh)
    yield from make.one("freshness_expiry_timestamp_seconds", "Until when that holds.", status.fresh_until)
    yield from make.one("waiting_decisions", "Releases that wait for the administrator's decision.", len(status.waiting))
    yield from make.one("refusals", "What trust or the retire limit refuses.", len(status.refused))
    yield from make.one("next_change_timestamp_seconds", "When something changes by itself.", status.next)
    seen: dict[tuple[str, ...], float] = {(one.name,): float(one.seen) for one in status.places}
    yield make.gauge("place_seen", "Whether the last run could list the place.", ("place",), seen)
    yield from _of_images(make, status)
    yield from _of_lists(make, status)
    yield from _sums(make, status)


def _of_images(make: _Maker, status: Status) -> Iterator[Metric]:
    states: dict[tuple[str, ...], float] = {(place.name, state): 0 for place in status.places for state in ("active", "hidden", "incomplete")}
    drift: dict[tuple[str, ...], float] = {(place.name,): 0 for place in status.places}
    newest: dict[tuple[str, ...], ImageStatus] = {}
    for image in status.images:
        states[image.place, image.state] = states.get((image.place, image.state), 0) + 1
        known = newest.get((image.place, image.appliance))
        if image.state == "active" and (known is None or known.version < image.version):
            newest[image.place, image.appliance] = image
    for one in status.drifted:
        drift[one.place,] = drift.get((one.place,), 0) + 1
    yield make.gauge("images", "Images of the site's own, by state.", ("place", "state"), states)
    yield make.gauge("drifted_images", "Images that somebody had changed or deleted at the cloud, as the last run found them.", ("place",), drift)
    shown = dict(sorted(newest.items())[:MOST_APPLIANCES])
    yield from make.one("appliances_without_series", "Appliances that have no series of their own, as there are too many.", len(newest) - len(shown))
    labels = ("place", "appliance")
    lags = {key: float(image.lag) for key, image in shown.items() if image.lag is not None}
    yield make.gauge("propagation_lag_seconds", "From the endorsement of the newest usable version to its use here.", labels, lags)
    ends = {key: image.expires.timestamp() for key, image in shown.items()}
    yield make.gauge("image_expiry_timestamp_seconds", "When the newest usable version expires.", labels, ends)


def _of_lists(make: _Maker, status: Status) -> Iterator[Metric]:
    lists, label = status.lists, ("list",)
    yield make.gauge("list_usable", "Whether the last run could fetch and verify the list.", label, {(one.name,): float(one.usable) for one in lists})
    times = {
        "list_verified_timestamp_seconds": ("When the list was last fetched and verified.", "verified"),
        "list_changed_timestamp_seconds": ("When its version was first seen here.", "changed"),
        "list_expiry_timestamp_seconds": ("When it expires.", "expires"),
    }
    for name, (text, field) in times.items():
        yield make.gauge(name, text, label, {(one.name,): at.timestamp() for one in lists if (at := getattr(one, field)) is not None})


def _sums(make: _Maker, status: Status) -> Iterator[Metric]:
    found: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for key, count in status.counts.items():
        what, *rest = key.split(" ")
        width = {"runs": 1, "actions": 3, "calls": 2}.get(what, 0)
        found[what][tuple([*rest, *[""] * width][:width])] = count
    yield make.counter("runs", "Runs, by result.", ("result",), found["runs"])
    yield make.counter("actions", "Actions, by kind and outcome.", ("kind", "outcome", "place"), found["actions"])
    yield make.counter("cloud_calls", "Calls of the cloud, by kind.", ("call", "place"), found["calls"])
    yield make.counter("fetched_bytes", "Bytes of image files that came.", (), found["fetched"])
    yield make.counter("uploaded_bytes", "Bytes that went to the cloud.", (), found["uploaded"])
