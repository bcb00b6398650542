"""The engine's tables in a service's database, brought to the version that this release works with.

With Alembic, one call in a revision of yours, and in another one for each version that there will be::

    from alembic import op
    from atomic_commit import migrations

    def upgrade() -> None:
        migrations.upgrade(op.get_bind(), 2)

    def downgrade() -> None:
        migrations.downgrade(op.get_bind(), 0)

Without Alembic, one call before the service starts: ``migrations.migrate(engine)``. The version of a database is
written in the comment of its table ``transactions``, so both ways know what the other has done.

The statements of a released version never change; the next change of the tables will be one more version beside these.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

_UP = {
    1: """
CREATE TABLE transactions (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    state text NOT NULL CONSTRAINT transactions_state CHECK (state IN ('preparing', 'committed', 'aborted')),
    attempt integer NOT NULL,
    dispatched boolean NOT NULL,
    "values" json NOT NULL,
    result json,
    cause json,
    error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline timestamptz NOT NULL,
    patience_until timestamptz NOT NULL,
    decided_at timestamptz,
    settled_at timestamptz,
    quarantined_at timestamptz,
    next_look_at timestamptz,
    looks integer NOT NULL DEFAULT 0,
    failed_attempts integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    leader uuid,
    leader_attempt integer,
    waits_until timestamptz,
    alone boolean NOT NULL DEFAULT false,
    silent_attempts integer NOT NULL DEFAULT 0,
    idempotency_caller text,
    idempotency_route text,
    idempotency_key text,
    fingerprint text,
    CONSTRAINT transactions_idempotency UNIQUE (idempotency_caller, idempotency_route, idempotency_key)
);
CREATE INDEX transactions_due ON transactions (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (created_at, id);
CREATE INDEX transactions_unsettled ON transactions (created_at, id) WHERE settled_at IS NULL;
CREATE INDEX transactions_aborted ON transactions (created_at, id) WHERE state = 'aborted';
CREATE INDEX transactions_waiting ON transactions (kind, waits_until) WHERE waits_until IS NOT NULL;
CREATE INDEX transactions_under_way ON transactions (kind)
    WHERE state = 'preparing' AND waits_until IS NULL AND leader IS NULL;
CREATE INDEX transactions_followers ON transactions (leader) WHERE leader IS NOT NULL AND settled_at IS NULL;
CREATE INDEX transactions_silent ON transactions (kind) WHERE state = 'preparing' AND silent_attempts > 0;
-- Every look and every decision leaves a dead entry in the indexes of what is due and unsettled; sweeps read it until a
-- vacuum. By default that waits for a fifth of the table: the longer the history, the longer.
ALTER TABLE transactions SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
CREATE TABLE transaction_branches (
    transaction_id uuid NOT NULL REFERENCES transactions (id),
    attempt integer NOT NULL,
    name text NOT NULL,
    position integer NOT NULL,
    task_id text NOT NULL,
    dispatched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status text,
    vote text,
    outcome text CONSTRAINT transaction_branches_outcome CHECK (outcome IN ('commit', 'rollback')),
    decided_at timestamptz,
    settled_at timestamptz,
    PRIMARY KEY (transaction_id, attempt, name)
);
CREATE TABLE branch_rows (
    transaction_id uuid NOT NULL,
    attempt integer NOT NULL,
    branch text NOT NULL,
    kind text NOT NULL CONSTRAINT branch_rows_kind CHECK (kind IN ('done', 'tombstone')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transaction_id, attempt, branch)
);
CREATE INDEX branch_rows_age ON branch_rows (created_at);
CREATE TABLE participant_databases (
    service text PRIMARY KEY,
    database uuid NOT NULL,
    pinned_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE database_identity (
    single boolean PRIMARY KEY DEFAULT true CONSTRAINT database_identity_single CHECK (single),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    installation text,
    service text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO database_identity DEFAULT VALUES;
CREATE TABLE local_calls (
    caller text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    answer json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (caller, route, key)
);
CREATE INDEX local_calls_age ON local_calls (created_at);
""",
    2: """
-- Nullable or with a default, all of it: the release before goes on writing while this one is rolled out.
ALTER TABLE transactions ADD COLUMN branch_values json, ADD COLUMN asking_since timestamptz;
ALTER TABLE branch_rows ADD COLUMN coordinated_by text, ADD COLUMN members jsonb;
ALTER TABLE database_identity
    ADD COLUMN life text,
    ADD COLUMN seen_at timestamptz,
    ADD COLUMN forked_at timestamptz,
    ADD COLUMN forked_since timestamptz,
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN paused_because text;
CREATE TABLE testimonies (
    transaction_id uuid NOT NULL,
    attempt integer NOT NULL,
    service text NOT NULL,
    found json NOT NULL,
    heard_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transaction_id, attempt, service)
);
CREATE TABLE losses (
    transaction_id uuid NOT NULL,
    attempt integer NOT NULL,
    branch text NOT NULL,
    lost text NOT NULL CONSTRAINT losses_lost CHECK (lost IN ('branch', 'transaction')),
    service text NOT NULL,
    kind text NOT NULL,
    "values" json NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    closed_because text,
    PRIMARY KEY (transaction_id, attempt, branch, lost)
);
CREATE TABLE coordinator_lives (
    coordinator text PRIMARY KEY,
    life text NOT NULL,
    met_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
""",
}
_DOWN = {
    2: """
DROP TABLE coordinator_lives, losses, testimonies;
ALTER TABLE database_identity DROP COLUMN life, DROP COLUMN seen_at, DROP COLUMN forked_at, DROP COLUMN forked_since,
    DROP COLUMN paused_at, DROP COLUMN paused_because;
ALTER TABLE branch_rows DROP COLUMN coordinated_by, DROP COLUMN members;
ALTER TABLE transactions DROP COLUMN branch_values, DROP COLUMN asking_since;
""",
    1: """
DROP TABLE local_calls, database_identity, participant_databases, branch_rows, transaction_branches, transactions;
""",
}

#: The version that this release works with.
NEWEST = max(_UP)

_COMMENT = "atomic_commit: version "
_FOUND = text(
    "SELECT to_regclass('transactions') IS NOT NULL, obj_description(to_regclass('transactions'), 'pg_class')"
)
#: Any number, the same for every migration of one database: two that start together run one after the other.
_ONE_AT_A_TIME = 7_219_401


def version_of(connection: Connection) -> int:
    """The version of the engine's tables in this database; 0 where there are none."""
    there, comment = connection.execute(_FOUND).one()
    return int((comment or f"{_COMMENT}1").removeprefix(_COMMENT)) if there else 0


def upgrade(connection: Connection, version: int = NEWEST) -> None:
    """Bring the tables up to `version` from whatever they are, in the transaction of `connection`."""
    for step in range(version_of(connection) + 1, version + 1):
        connection.exec_driver_sql(_UP[step])
        connection.exec_driver_sql(f"COMMENT ON TABLE transactions IS '{_COMMENT}{step}'")


def downgrade(connection: Connection, version: int) -> None:
    """Take them back to `version`. Let everything settle before."""
    for step in range(version_of(connection), version, -1):
        connection.exec_driver_sql(_DOWN[step])
        if step > 1:
            connection.exec_driver_sql(f"COMMENT ON TABLE transactions IS '{_COMMENT}{step - 1}'")


def migrate(engine: Engine) -> int:
    """Bring the tables up to the newest version, for who does without Alembic. Returns the version that they had.

    May be called by several processes at once, and as often as one likes. Waits at most five seconds for a table that a
    transaction in doubt still holds; raises SQLAlchemy's OperationalError then.
    """
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        before = version_of(connection)
        upgrade(connection)
    return before


def assert_migrated(engine: Engine) -> None:
    """Raise RuntimeError unless the tables have the version that this release works with, or a later one: they were
    migrated for the next release then, whose rollout is under way."""
    with engine.connect() as connection:
        found = version_of(connection)
    if found < NEWEST:
        raise RuntimeError(f"the tables of atomic_commit are at version {found}, the code at {NEWEST}: migrate them")
