"""The command line: which commands there are, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback

import typer
from rich.console import Console
from typer.exceptions import TyperException

from vmkeeper.cli import (
    author,
    bundle,
    cluster,
    convert,
    deciding,
    demo,
    endorser,
    events,
    export,
    factory,
    forge,
    importing,
    lineage,
    policy,
    policy_sync,
    propagation,
    publisher,
    site,
    site_status,
    siteservice,
    verify,
)
from vmkeeper.cli.session import show_error, visible
from vmkeeper.errors import VmkeeperError

BUG = 3
INTERRUPTED = 130

app = typer.Typer(
    name="vmkeeper",
    help="Runs the whole life of virtual appliances and of the clusters made from them, out of files in git.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("init")(author.init)
app.command("check")(author.check)
app.command("show")(author.show)
app.command("plan")(author.plan)
app.command("why")(author.why)
app.command("schema")(author.schema)
app.command("import")(importing.import_)
app.command("refresh")(factory.refresh)
app.command("apply")(factory.apply)
app.command("build")(factory.build)
app.command("test")(factory.test)
app.command("endorse")(endorser.endorse)
app.command("withdraw")(endorser.withdraw)
app.command("approve")(deciding.approve)
app.command("block")(deciding.block)
app.command("hold")(deciding.hold)
app.command("freshness")(policy.freshness)
app.command("convert")(convert.convert)
app.command("publish")(publisher.publish)
app.command("bundle")(bundle.bundle)
app.command("reconcile")(site.reconcile)
app.command("status")(site_status.status)
app.command("propagation")(propagation.propagation)
app.command("log")(lineage.log)
app.command("demo")(demo.demo)
policy.commands.command("sync")(policy_sync.sync)
site.commands.command("events")(events.events)
site.commands.command("suspend")(siteservice.suspend)
site.commands.command("resume")(siteservice.resume)
site.commands.command("key")(siteservice.key)
site.commands.command("page")(siteservice.page)
site.commands.command("unit")(siteservice.unit)
app.add_typer(export.commands, name="export")
app.add_typer(verify.commands, name="verify")
app.add_typer(policy.commands, name="policy")
app.add_typer(site.commands, name="site")
app.add_typer(cluster.commands, name="cluster")
app.add_typer(forge.commands, name="hook")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 a user's error or a failed action, 2 changes, 3 a bug, 130 interrupted."""
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    try:
        status = app(standalone_mode=False)
    except VmkeeperError as error:
        show_error(console, error)
        status = error.exit_code
    except TyperException as error:
        console.print(error.format_message(), markup=False)
        status = 1
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted; run the same command again to go on")
        status = INTERRUPTED
    except Exception:  # noqa: BLE001 - the last line of defence: a bug is reported as one
        console.print("\n".join(visible(line) for line in traceback.format_exc().split("\n")), markup=False)
        console.print("This is a bug in vmkeeper. Please report it with the text above.")
        status = BUG
    sys.exit(status if isinstance(status, int) else 0)
