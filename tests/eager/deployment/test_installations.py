"""Two installations that meet, on a broker or at a database, do nothing to each other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa
from eager_postgres import database_url, fresh_database
from eager_shop import EagerShop, eager_celery, message
from sqlalchemy.orm import Session

from atomic_commit import AtomicCommit, Installation, TransactionRecord, WrongDatabase, journal
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.postgres.identity import Identity
from celery_config.installation import VARIABLE
from celery_config.manifest import SERVICES
from local_servers.postgres import Postgres
from service_roles import main as service_main
from service_roles.main import main
from service_roles.migrate import upgrade
from tests.installation import INSTALLATION
from users_service import create_app as create_users
from users_service.remove_user import remove_user

ELSEWHERE = str(uuid4())


@pytest.fixture(autouse=True)
def known_to_each_other(shop: EagerShop) -> None:
    """Every coordinator has seen its participants' databases, and no other ones."""
    for service in SERVICES:
        shop.query(service, "TRUNCATE participant_databases")
        known = look_again(shop, service)
        for participant in SERVICES:
            assert known.accepts(participant, shop.atomic(participant).identity.database())


def look_again(shop: EagerShop, service: str) -> KnownDatabases:
    """What the process keeps in mind is old now."""
    known = shop.atomic(service).coordinator.databases
    known._read_at = float("-inf")
    return known


def state_of(shop: EagerShop, removal: TransactionRecord) -> tuple[str, int]:
    now = shop.record("users", removal.id)
    return str(now.state), now.attempt


# ---- a yes proves which database prepared


@pytest.mark.loud
@pytest.mark.parametrize("place", [0, 1], ids=["the-first-branch", "the-last-branch"])
def test_a_yes_from_another_database_is_worth_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    handed_on = shop.prepare_all(removal)
    foreign = str(shop.gids(removal)[place])
    forged = {**handed_on, "prepared": {**handed_on["prepared"], foreign: ELSEWHERE}}
    shop.celery.AsyncResult(foreign).forget()
    shop.celery.backend.store_result(foreign, forged, "SUCCESS")
    coordinator = shop.atomic("users").coordinator
    coordinator.decide(removal.id, 1, forged)  # type: ignore[arg-type]
    assert state_of(shop, removal) == ("preparing", 1)
    assert ELSEWHERE in caplog.text
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)
    assert shop.status_of_user(user) is None


def test_what_a_branch_returns_names_the_database_in_which_it_is_prepared(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    proofs = shop.prepare_all(removal)["prepared"]
    owners = {
        str(id): service for service in SERVICES for (id,) in shop.query(service, "SELECT id FROM database_identity")
    }
    assert [owners[proofs[str(gid)]] for gid in shop.gids(removal)] == ["orders", "products"]
    shop.recover()


def test_the_database_that_is_seen_first_is_pinned_for_every_process(shop: EagerShop, user: int, order: int) -> None:
    shop.remove_user(user)
    pinned = dict(shop.query("users", "SELECT service, database::text FROM participant_databases"))
    assert pinned == {name: shop.atomic(name).identity.database() for name in SERVICES}
    another_process = KnownDatabases(shop.engines["users"])
    assert another_process.of("orders") == pinned["orders"]


@pytest.mark.loud
def test_only_a_person_lets_another_database_take_the_place_of_the_first(
    shop: EagerShop, user: int, order: int
) -> None:
    known = KnownDatabases(shop.engines["users"])
    assert known.accepts("warehouse", ELSEWHERE)
    other = str(uuid4())
    assert not known.accepts("warehouse", other)
    assert not KnownDatabases(shop.engines["users"]).accepts("warehouse", other)
    with Session(shop.engines["users"]) as session, session.begin():
        assert journal.forget_database(session, "warehouse") == ELSEWHERE
    assert known.accepts("warehouse", other)


# ---- what is meant for another database


@pytest.mark.loud
def test_a_branch_that_is_meant_for_another_database_is_not_run(shop: EagerShop, removal: TransactionRecord) -> None:
    orders, _ = shop.gids(removal)
    branch = shop.celery.tasks[INSTALLATION.branch_task(orders.branch)]
    done = branch.apply(args=(message(removal),), kwargs={"gid": str(orders), "database": ELSEWHERE}, task_id="x")
    assert isinstance(done.result, WrongDatabase), done.result
    assert shop.prepared() == []
    assert shop.query("orders", "SELECT count(*) FROM branch_rows") == [(0,)]
    shop.recover()


@pytest.mark.loud
@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_an_outcome_that_is_meant_for_another_database_is_neither_done_nor_answered(
    shop: EagerShop, removal: TransactionRecord, verb: str
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    outcome = shop.celery.tasks[INSTALLATION.task("orders", verb)]
    done = outcome.apply(kwargs={"gid": str(orders), "database": ELSEWHERE})
    assert isinstance(done.result, WrongDatabase), done.result
    assert shop.prepared() == [str(orders)]
    assert shop.query("orders", "SELECT count(*) FROM branch_rows") == [(0,)]
    shop.recover()


@pytest.mark.loud
@pytest.mark.leaves("unsettled")
def test_an_answer_from_another_database_settles_nothing(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    acknowledge = shop.celery.tasks[INSTALLATION.task("users", "acknowledge")]
    for gid in shop.gids(removal):
        answer = {"answer": "committed", "database": ELSEWHERE}
        acknowledge.apply(args=(answer,), kwargs={"gid": str(gid)})
    assert shop.record("users", removal.id).settled_at is None
    assert len(shop.prepared()) == 2
    shop.recover()


def test_messages_say_for_which_database_they_are_meant(shop: EagerShop, user: int, order: int) -> None:
    messages = shop.atomic("users").messages
    removal = shop.begin("users", "remove_user", user_id=user)
    (first, _) = removal.current_branches
    review = messages._own("review", {}, immutable=True)
    signature = messages._branch(first, removal.read_at, review)
    assert signature.kwargs == {"gid": first.task_id, "database": shop.atomic("orders").identity.database()}
    shop.recover()


def test_a_repeated_outcome_is_a_task_of_its_own(shop: EagerShop, removal: TransactionRecord) -> None:
    """Whatever is done to one, such as a revocation, is not done to the next."""
    told = replace(removal.current_branches[0], outcome="commit")  # type: ignore[arg-type]
    messages = shop.atomic("users").messages
    signatures = [messages._outcome(told, removal.read_at) for _ in range(3)]
    ids = [signature.options["task_id"] for signature in signatures]
    ids += [signature.options["link"][0].options["task_id"] for signature in signatures]
    assert len(set(ids)) == 6
    assert all(id.startswith(f"{told.task_id}:") for id in ids), "they can be read all the same"
    shop.recover()


# ---- a process at somebody else's database


def users_of(
    shop: EagerShop, installation: Installation, service: str = "users", database: str = "users"
) -> AtomicCommit:
    """The users service, as another installation has it or at another service's database."""
    return AtomicCommit(
        service=service,
        installation=installation,
        engine=shop.engines[database],
        celery=eager_celery(),
        kinds=(remove_user,),
    )


@pytest.mark.parametrize(
    "stranger",
    [
        lambda shop: users_of(shop, Installation("shop", "another")),
        lambda shop: users_of(shop, Installation("store", INSTALLATION.name)),
        lambda shop: users_of(shop, INSTALLATION, database="orders"),
    ],
    ids=["another-installation", "another-application", "another-service"],
)
def test_nothing_begins_at_somebody_elses_database(
    shop: EagerShop, user: int, stranger: Callable[[EagerShop], AtomicCommit]
) -> None:
    before = shop.everything()
    with pytest.raises(WrongDatabase, match="belongs to"):
        stranger(shop).begin("remove_user", {"user_id": user})
    assert shop.everything() == before


def test_a_branch_does_not_run_at_somebody_elses_database(shop: EagerShop, removal: TransactionRecord) -> None:
    """Also where nobody has asked whose it is: the question is part of the branch's own local transaction."""
    orders, _ = shop.gids(removal)
    participant = shop.atomic("orders").participant
    own, participant._identity = participant._identity, Identity(shop.engines["orders"], INSTALLATION, "warehouse")
    try:
        with pytest.raises(WrongDatabase):
            shop.prepare(orders, message(removal))
    finally:
        participant._identity = own
    assert shop.prepared() == []
    shop.recover()


def test_an_api_at_somebody_elses_database_accepts_nothing_and_is_not_ready(
    migrated: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "another")
    url = database_url(migrated, "users").replace("postgresql:", "postgresql+psycopg2:")
    app = create_users(url=url, celery=eager_celery())
    try:
        client = app.test_client()
        answer = client.delete("/users/1")
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json"), answer.text
        ready = client.get("/readyz")
        assert ready.status_code == 503, ready.text
        assert "belongs to users of shop.tests" in ready.json["checks"]["own_database"], ready.text
    finally:
        with app.app_context():
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.mark.parametrize("role", ["api", "worker", "outcome-worker", "migrate"])
@pytest.mark.parametrize(
    ("package", "installation", "told"),
    [
        ("users_service", "another", "belongs to users of shop.tests, and this process is users of shop.another"),
        ("orders_service", "tests", "belongs to users of shop.tests, and this process is orders of shop.tests"),
    ],
)
def test_a_process_does_not_start_at_somebody_elses_database(
    shop: EagerShop,
    migrated: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    role: str,
    package: str,
    installation: str,
    told: str,
) -> None:
    monkeypatch.setenv(VARIABLE, installation)
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    for start in ("_serve", "_work"):  # one that starts would never end
        monkeypatch.setattr(service_main, start, lambda *_: pytest.fail(f"the {role} starts"))
    before = shop.everything()
    assert main(package, [role]) == 2
    assert told in capsys.readouterr().err
    assert shop.everything() == before


@pytest.mark.parametrize("name", [None, "", "Main", "a.b"])
def test_a_process_whose_installation_is_not_named_says_what_to_set(
    migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str | None
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    monkeypatch.delenv(VARIABLE) if name is None else monkeypatch.setenv(VARIABLE, name)
    for role in ("api", "worker", "migrate", "transactions"):
        assert main("users_service", [role]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"users_service {role}: {VARIABLE}")
        assert len(said.splitlines()) == 1


def test_a_database_belongs_to_whoever_migrates_it_first(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_database(postgres, "claimed") as url:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv(VARIABLE, "first")
        assert upgrade("users_service") == 0
        monkeypatch.setenv(VARIABLE, "second")
        assert upgrade("users_service") == 2
        assert "belongs to users of shop.first" in capsys.readouterr().err
        monkeypatch.setenv(VARIABLE, "first")
        assert upgrade("users_service") == 0
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT installation, service FROM database_identity")).all() == [
                ("shop.first", "users")
            ]
        engine.dispose()


def test_somebody_elses_database_is_not_even_migrated(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the next release's migration is run with a wrong DATABASE_URL."""
    with fresh_database(postgres, "older") as url:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
        monkeypatch.setenv("DATABASE_URL", url)
        assert upgrade("users_service") == 0
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
        monkeypatch.setenv(VARIABLE, "another")
        assert upgrade("users_service") == 2
        assert "belongs to users of shop.tests" in capsys.readouterr().err
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0003"
        engine.dispose()


def test_databases_have_ids_of_their_own(shop: EagerShop) -> None:
    assert len({shop.atomic(service).identity.database() for service in SERVICES}) == len(SERVICES)


def test_the_databases_are_shown_and_one_is_forgotten_by_a_person_alone(
    shop: EagerShop,
    user: int,
    order: int,
    migrated: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop.remove_user(user)
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    assert main("users_service", ["databases"]) == 0
    said = capsys.readouterr().out
    assert all(shop.atomic(service).identity.database() in said for service in SERVICES), said
    assert "shop.tests" in said
    assert main("users_service", ["databases", "--forget", "orders"]) == 0
    assert shop.atomic("orders").identity.database() in capsys.readouterr().out.splitlines()[0]
    left = shop.query("users", "SELECT service FROM participant_databases ORDER BY service")
    assert left == [("products",), ("users",)]
    assert main("users_service", ["databases", "--forget", "orders"]) == 1
    assert "nothing done" in capsys.readouterr().err
    look_again(shop, "users")
    shop.remove_user(shop.add_user("Grace")).expect(200)
    pinned = shop.query("users", "SELECT database::text FROM participant_databases WHERE service = 'orders'")
    assert pinned == [(shop.atomic("orders").identity.database(),)]


def test_what_another_installation_has_prepared_is_listed_as_not_ours(
    shop: EagerShop, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gid = f"shop.another:users.remove_user:{uuid4()}:1:orders.cancel_user_orders"
    with contextlib.closing(psycopg2.connect(database_url(migrated, "orders"))) as connection:
        connection.cursor().execute("SELECT txid_current()")
        connection.cursor().execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        monkeypatch.setenv("DATABASE_URL", database_url(migrated, "orders"))
        assert main("orders_service", ["in-doubt"]) == 0
        said = capsys.readouterr().out
        assert "0 in doubt in this database, 1 prepared by others" in said
        assert gid in said.partition("never touched")[2]
    finally:
        shop.query_outside("orders", f"ROLLBACK PREPARED '{gid}'")
