"""The demo's command line: a shop in a temporary folder on free ports, and nothing of either afterwards."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded import up
from embedded.demo.errors import DemoFailed
from embedded.demo.screen import Screen
from embedded.demo.story import Story
from embedded.shop import Shop
from local_servers.errors import LocalServersError
from local_servers.foreground import AskedToStop, Foreground
from local_servers.json_http import CallFailed

PROMISE_BROKEN = 1
INTERRUPTED = 130
TAIL_LINES = 12


def main(argv: list[str]) -> int:
    """Returns 0 when everything shown is what the design promises, 1 when not, 130 after Ctrl-C."""
    asked = _parser().parse_args(argv)
    screen = Screen(plain_progress=asked.verbose)
    log = up.Screen(sys.stderr).line if asked.verbose else None
    began = time.monotonic()
    with Foreground() as terminal, _own_folder() as folder:
        shop = Shop(folder, flower=False, log=log)
        terminal.watch_over(shop)
        try:
            code = _run(shop, screen, terminal)
        except (AskedToStop, LocalServersError) as error:
            if not terminal.came:
                screen.say("The demo ends here. Its folder and the logs in it are removed; --verbose prints them.")
                raise
            screen.say(f"interrupted: everything is stopped{_unless_plain(error)}")
            return INTERRUPTED
    screen.say(f"Stopped, and its folder removed. All of it took {time.monotonic() - began:.0f} s.")
    return code


def _unless_plain(error: BaseException) -> str:
    return f" ({error})" if isinstance(error, DemoFailed | CallFailed) else ""


def _run(shop: Shop, screen: Screen, terminal: Foreground) -> int:
    began = time.monotonic()
    try:
        with screen.working("starting PostgreSQL, Valkey and the services, three processes each"):
            shop.start()
        screen.show(f"The shop is up after {time.monotonic() - began:.1f} s, in a folder of its own.")
        with terminal.raised():
            return _tell(shop, screen)
    finally:
        with screen.working("stopping"):
            shop.stop()


def _tell(shop: Shop, screen: Screen) -> int:
    story = Story(shop, screen)
    try:
        if story.tell():
            screen.say("Everything is as promised.", "bold green")
            return 0
        _show_logs(shop, screen, None)
        broken = sum(not check.kept for check in story.checks)
        screen.say(f"Promises that were broken: {broken}.", "bold red")
        return PROMISE_BROKEN
    except (DemoFailed, CallFailed) as error:
        _show_logs(shop, screen, _service_of(error, shop))
        raise
    finally:
        story.view.close()


def _service_of(error: DemoFailed | CallFailed, shop: Shop) -> str | None:
    if isinstance(error, DemoFailed):
        return error.service
    return next((service for service, url in shop.apis.items() if error.url.startswith(f"{url}/")), None)


def _show_logs(shop: Shop, screen: Screen, service: str | None) -> None:
    """The last words of one service's processes (None: of all) and of the launcher."""
    wanted = [name for name in shop.names if "-" in name and name.startswith(service or "")]
    for name in [*wanted, "launcher"]:
        lines = shop.log_of(name).splitlines()[-TAIL_LINES:]
        if lines:
            screen.say(f"\n{name} said last:", "bold")
            screen.quote(lines)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder for all data, removed at the end.

    Others may pass through it, not look into it: where root has to run PostgreSQL as somebody else, that account
    must reach its data below.
    """
    folder = Path(tempfile.mkdtemp(prefix="shop-demo-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m embedded demo",
        description="Start a whole shop in a temporary folder on free ports, show it at work, and stop it.",
    )
    parser.add_argument("--verbose", action="store_true", help="print what the processes say, on standard error")
    return parser
