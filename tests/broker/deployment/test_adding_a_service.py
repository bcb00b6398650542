"""docs/how-to/adding-a-service.md, word for word: applied to a copy of the repository, it makes a shop of four
services in which placing an order also charges the customer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from celery_config.manifest import COORDINATORS
from embedded.settings import ROOT, Ports
from tests.broker.databases import Databases
from tests.broker.http_calls import Answer, call
from tests.broker.waiting import SOON, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not shutil.which("git"), reason="git applies the document's diffs"),
]

DOCUMENT = ROOT / "docs" / "how-to" / "adding-a-service.md"
NOT_COPIED = (".git", ".venv*", ".embedded", "__pycache__", ".*_cache")
#: A cold start of twelve processes and their migrations on a busy machine.
UP_WITHIN = 180.0
STOP_WITHIN = 90.0

PACKAGE = "payments_service"
CODE = {"celery_config/manifest.py", "celery_config/tasks.py", "orders_service/place_order.py"}
#: Of the copy's own tests those that know what a service needs; the others speak of a shop without payments.
RULES = (
    *("deployment/test_manifest.py", "deployment/test_kubernetes.py", "protocol/test_branch_names.py"),
    *("local_servers/test_embedded_command.py", "local_servers/test_demo_checks.py"),
    *("tools/test_import_rules.py", "tools/test_mutants.py"),
)

#: Everything that a placing may change, by database.
_ROWS = {
    "users": ("users",),
    "products": ("products",),
    "orders": ("orders", "order_lines"),
    "payments": ("accounts",),
}
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
_UNSETTLED = "SELECT id FROM transactions WHERE settled_at IS NULL"


@dataclass(frozen=True)
class Document:
    """Its blocks: whole new files by their path, and diffs."""

    files: dict[str, str]
    diffs: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Document:
        blocks = re.findall(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        files = {title: body for _, title, body in blocks if title}
        return cls(files, tuple(body for language, title, body in blocks if language == "diff" and not title))

    @property
    def changed(self) -> list[str]:
        """The files that the diffs are for."""
        return [path for diff in self.diffs for path in re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)]

    def apply(self, copy: Path) -> None:
        for path, body in self.files.items():
            assert not (copy / path).exists(), f"{path} is there already"
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_text(body)
        for diff in self.diffs:
            # Not as a part of whatever repository the copy may lie in.
            environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}
            command = ["git", "apply", "-p1", "-"]
            done = subprocess.run(command, cwd=copy, env=environment, input=diff, capture_output=True, text=True)
            assert done.returncode == 0, f"{done.stderr}\n{diff}"


@pytest.fixture(scope="module")
def document() -> Document:
    return Document.read(DOCUMENT.read_text())


@pytest.fixture(scope="module")
def copy(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with what the document adds."""
    folder = tmp_path_factory.mktemp("fourth") / "shop"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    document.apply(folder)
    return folder


def environment_of(copy: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{copy / 'engine' / 'src'}{os.pathsep}{copy}", **more}


class FourServices:
    """The copy's shop, run by its own launcher in a process of its own; it is spoken to over HTTP alone."""

    def __init__(self, copy: Path, state: Path) -> None:
        ports = {f"{name.upper()}_PORT": "0" for name in (*Ports.names(), "payments")}
        self._copy, self._environment = copy, environment_of(copy, EMBEDDED_STATE=str(state), **ports)
        self._said = (state / "launcher.log").open("w+")
        self._launcher = subprocess.Popen(
            self._command("up"), cwd=copy, env=self._environment, stdout=self._said, stderr=subprocess.STDOUT
        )
        self.status: dict[str, Any] = {}
        self.databases = Databases(lambda name: str(self.status["databases"][name]))

    def wait_until_up(self) -> None:
        self.status = wait_until(self._ready, "the shop of four services is up", UP_WITHIN, every=1.0)

    def stop(self) -> None:
        """Whatever is left after that is ended by `down`."""
        self._launcher.terminate()
        try:
            self._launcher.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()
            subprocess.run(self._command("down"), cwd=self._copy, env=self._environment, timeout=STOP_WITHIN)
        self._said.close()

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "embedded", *words]

    def _ready(self) -> dict[str, Any] | None:
        if self._launcher.poll() is not None:
            self._said.seek(0)
            pytest.fail(f"the launcher has ended:\n{self._said.read()[-5000:]}", pytrace=False)
        asked = self._command("status", "--json")
        done = subprocess.run(asked, cwd=self._copy, env=self._environment, capture_output=True, text=True, timeout=60)
        status: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return status if status.get("phase") == "ready" else None

    # ---- over HTTP

    def call(self, method: str, service: str, path: str, body: object = None, **headers: str) -> Answer:
        return call(method, self.status["apis"][service] + path, body, **headers)

    def made(self, service: str, path: str, body: object) -> dict[str, Any]:
        answer = self.call("POST", service, path, body)
        assert answer.status == 201, answer
        return dict(answer.body)

    def place_order(self, user: int, product: int, quantity: int) -> Answer:
        body = {"user_id": user, "lines": [{"product_id": product, "quantity": quantity}]}
        answer = self.call("POST", "orders", "/orders", body, Prefer="wait=30")
        self.wait_quiet()
        return answer

    def seen(self, user: int, product: int) -> tuple[int, int, int]:
        """Stock, orders of the user, balance of the user's account."""
        stock = self.call("GET", "products", f"/products/{product}").body["stock"]
        orders = self.call("GET", "orders", f"/orders?user_id={user}").body
        return stock, len(orders), self.call("GET", "payments", f"/accounts/{user}").body["balance"]

    # ---- past the services

    def wait_quiet(self) -> None:
        """Until every transaction is settled, and nothing is prepared anywhere."""
        wait_until(lambda: not self._open(), "everything is settled", SOON, every=0.1)

    def _open(self) -> list[dict[str, Any]]:
        unsettled = [row for service in COORDINATORS for row in self.databases.rows(service, _UNSETTLED)]
        return unsettled + [row for service in _ROWS for row in self.databases.rows(service, _PREPARED)]

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Every business row of every service."""
        return {
            table: self.databases.rows(database, f"SELECT * FROM {table} ORDER BY 1, 2")
            for database, tables in _ROWS.items()
            for table in tables
        }


@pytest.fixture(scope="module")
def shop(copy: Path) -> Iterator[FourServices]:
    state = Path(tempfile.mkdtemp(prefix="shop-fourth-"))
    running = FourServices(copy, state)
    try:
        running.wait_until_up()
        yield running
    finally:
        running.stop()
        shutil.rmtree(state)


@dataclass(frozen=True)
class Scene:
    """A customer with 1000 on the account, and tea at 450, ten in stock."""

    user: int
    product: int


@pytest.fixture
def scene(shop: FourServices) -> Scene:
    mail = f"ada-{time.time_ns()}@example.com"
    user = shop.made("users", "/users", {"name": "Ada", "email": mail})["id"]
    product = shop.made("products", "/products", {"name": "Tea", "price": 450, "stock": 10})["id"]
    shop.made("payments", "/accounts", {"user_id": user, "balance": 1000})
    return Scene(user, product)


# ---- the document


def test_it_touches_one_package_three_modules_and_the_deployment_and_nothing_else(document: Document) -> None:
    package = {path for path in document.files if path.startswith(f"{PACKAGE}/")}
    deployed = {path for path in (*document.files, *document.changed) if path not in package | CODE}
    assert len(document.changed) == len(set(document.changed))
    assert set(document.changed) >= CODE
    new = deployed & document.files.keys()
    assert (len(package), len(CODE), len(deployed - new), len(new)) == (11, 3, 15, 3)
    assert not [path for path in deployed if path.endswith(".py")]


def test_it_counts_what_it_touches(document: Document) -> None:
    table = DOCUMENT.read_text().partition("|---|---|\n")[2].partition("\n\n")[0]
    lines = sum(
        diff.count("\n+") - 1 for diff in document.diffs if any(f"+++ b/{path}" in diff for path in CODE)
    )  # without the line that names the file
    assert re.findall(r"\d+", table) == ["11", "3", str(lines), "15", "3"]


# ---- the copy


def test_the_copys_own_rules_hold(copy: Path) -> None:
    tests = [f"tests/unit/{file}" for file in RULES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, env=environment_of(copy), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_the_copys_style_is_the_repositorys(copy: Path) -> None:
    for verb in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *verb, "--no-cache", PACKAGE, "celery_config", "orders_service"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# ---- its shop


def test_an_order_takes_the_goods_and_charges_the_customer(shop: FourServices, scene: Scene) -> None:
    answer = shop.place_order(scene.user, scene.product, 2)
    assert answer.status == 201, answer
    assert shop.seen(scene.user, scene.product) == (8, 1, 100)
    order = shop.call("GET", "orders", f"/orders/{answer.order_id}").body
    assert (order["status"], order["total"]) == ("open", 900)
    branches = shop.call("GET", "orders", f"/transactions/{answer.transaction}").body["branches"]
    assert [one["name"] for one in branches][-1] == "payments.charge"


def test_an_order_that_the_account_cannot_pay_changes_nothing_anywhere(shop: FourServices, scene: Scene) -> None:
    before = shop.rows()
    answer = shop.place_order(scene.user, scene.product, 3)
    assert answer.status == 409, answer
    assert (answer.body["branch"], answer.body["reason"]) == ("payments.charge", "insufficient_funds"), answer
    assert shop.rows() == before
    assert shop.seen(scene.user, scene.product) == (10, 0, 1000)


def test_who_has_no_account_orders_nothing(shop: FourServices, scene: Scene) -> None:
    mail = f"grace-{time.time_ns()}@example.com"
    grace = shop.made("users", "/users", {"name": "Grace", "email": mail})["id"]
    before = shop.rows()
    answer = shop.place_order(grace, scene.product, 1)
    assert (answer.status, answer.body["branch"], answer.body["reason"]) == (409, "payments.charge", "no_account")
    assert shop.rows() == before


def test_two_orders_at_once_are_never_paid_from_the_same_money(shop: FourServices, scene: Scene) -> None:
    body = {"user_id": scene.user, "lines": [{"product_id": scene.product, "quantity": 2}]}
    tickets = [shop.call("POST", "orders", "/orders", body, Prefer="respond-async") for _ in range(4)]
    assert {ticket.status for ticket in tickets} == {202}
    shop.wait_quiet()
    assert shop.seen(scene.user, scene.product) == (8, 1, 100)


def test_a_second_account_is_refused(shop: FourServices, scene: Scene) -> None:
    answer = shop.call("POST", "payments", "/accounts", {"user_id": scene.user, "balance": 5})
    assert (answer.status, answer.body["reason"]) == (409, "account_exists")
    assert shop.seen(scene.user, scene.product)[2] == 1000
