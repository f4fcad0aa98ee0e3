"""Serves one service of OpenStack on 127.0.0.1 until nobody holds the cloud any more.

Arguments: module with the WSGI application, port, file that is made once it serves, the file whose lock the users of the
cloud share ("" to run until stopped), and a file to which each request is written as one line of JSON.
"""

import fcntl
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

NOVA = "nova.wsgi.osapi_compute"
THREADS = {"keystone.wsgi.api": 1}
"""Keystone keeps the token of a request in an object that all its threads share, and mixes up two users who come at once."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Threads of a service would keep a broken process alive."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)


def while_held(path: str) -> None:
    """Ends this process when the last user lets go of the lock, which the kernel does for one that was killed."""
    with Path(path).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        os._exit(0)


def nova_services() -> list[Any]:
    """Conductor, scheduler and compute run in the process of Nova's API: their messages are only passed within it."""
    import nova.conf
    import os_brick
    import os_vif
    from nova import objects, service
    from nova.compute import rpcapi as compute
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler

    objects.register_all()
    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    started = []
    topics = (
        ("nova-conductor", conductor.RPC_TOPIC, None),
        ("nova-scheduler", scheduler.RPC_TOPIC, None),
        ("nova-compute", compute.RPC_TOPIC, getattr(compute, "RPC_TOPIC_ALT", None)),
    )
    for binary, topic, other in topics:
        one = service.Service.create(binary=binary, topic=topic, topic_alt=other)
        one.start()
        started.append(one)
    return started


def recorded(application: Application, path: str) -> Application:
    """The application, with a line for each answer: the project is the one that the token is for, where the service has looked."""
    record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, query, status = environ["SCRIPT_NAME"] + environ["PATH_INFO"], environ["QUERY_STRING"], []

        def started(said: str, *more: Any) -> Any:
            status[:] = [int(said[:3])]
            return start(said, *more)

        try:
            return application(environ, started)
        finally:
            line = {"method": environ["REQUEST_METHOD"], "path": path, "query": query}
            line |= {"status": status[0] if status else 0, "project": environ.get("HTTP_X_PROJECT_ID", "")}
            os.write(record, json.dumps(line).encode() + b"\n")

    return answer


def main(module: str, port: int, ready: Path, held: str, record: str) -> None:
    sys.excepthook = end
    if held:
        threading.Thread(target=while_held, args=(held,), daemon=True).start()
    importlib.import_module("sqlite_turns")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    application = recorded(importlib.import_module(module).application, record)
    sys.excepthook = end  # oslo.log has put its own there
    kept = nova_services() if module == NOVA else []
    import waitress

    server = waitress.create_server(
        application, host="127.0.0.1", port=port, threads=THREADS.get(module, 8), max_request_body_size=1 << 42, channel_timeout=3600
    )
    ready.touch()
    server.run()
    del kept


if __name__ == "__main__":
    found = sys.argv[1:]
    sys.argv = sys.argv[:1]
    main(found[0], int(found[1]), Path(found[2]), found[3], found[4])
