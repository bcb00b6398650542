"""The protocol's tables, the same in every service's database.

``transactions`` and ``transaction_branches`` are the coordinator's journal: what was accepted, what was decided, what
is still owed to whom; ``participant_databases`` belongs to it: where each participant prepares. ``branch_rows`` is the
participant's side: one row for each branch that ever ran or was fenced here. ``database_identity`` has one row: which
database this is, and whose. ``local_calls`` is what the service has done by itself, once for an Idempotency-Key.

The statements of a released version never change: a service's first migration calls ``create_v1``, a later one
``create_v2``, and so on; the next change of the tables will be a ``create_v6`` beside them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

metadata = sa.MetaData()

#: One row for each attempt that is not decided: its leader's.
_UNDER_WAY = "state = 'preparing' AND waits_until IS NULL AND leader IS NULL"
_FOLLOWS = "leader IS NOT NULL AND settled_at IS NULL"
_SILENT = "state = 'preparing' AND silent_attempts > 0"

_moment = sa.DateTime(timezone=True)

transactions = sa.Table(
    "transactions",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("dispatched", sa.Boolean, nullable=False),
    sa.Column("values", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON),
    sa.Column("cause", sa.JSON),
    sa.Column("error", sa.Text),
    sa.Column("created_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("deadline", _moment, nullable=False),
    sa.Column("patience_until", _moment, nullable=False),
    sa.Column("decided_at", _moment),
    sa.Column("settled_at", _moment),
    sa.Column("quarantined_at", _moment),
    sa.Column("next_look_at", _moment),
    sa.Column("looks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    # Which attempt it is or was part of. NULL: it leads its own, or is alone in it.
    sa.Column("leader", UUID(as_uuid=True)),
    sa.Column("leader_attempt", sa.Integer),
    # Since when, or from when on, it waits for an attempt. NULL: it is part of one, or decided.
    sa.Column("waits_until", _moment),
    sa.Column("alone", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("silent_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("idempotency_caller", sa.Text),
    sa.Column("idempotency_route", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("fingerprint", sa.Text),
    sa.CheckConstraint("state IN ('preparing', 'committed', 'aborted')", name="transactions_state"),
    sa.UniqueConstraint("idempotency_caller", "idempotency_route", "idempotency_key", name="transactions_idempotency"),
    # Recovery reads only what is not settled, so a sweep costs the same whatever the history.
    sa.Index("transactions_due", "next_look_at", postgresql_where=sa.text("next_look_at IS NOT NULL")),
    # The listing reads it from one end, retention from the other.
    sa.Index("transactions_newest", "created_at", "id"),
    # What people look for among a long history of commits: the few that are not settled, and the few that are aborted.
    sa.Index("transactions_unsettled", "created_at", "id", postgresql_where=sa.text("settled_at IS NULL")),
    sa.Index("transactions_aborted", "created_at", "id", postgresql_where=sa.text("state = 'aborted'")),
    # Who waits, who is under way, and who follows whom: read for every attempt.
    sa.Index("transactions_waiting", "kind", "waits_until", postgresql_where=sa.text("waits_until IS NOT NULL")),
    sa.Index("transactions_under_way", "kind", postgresql_where=sa.text(_UNDER_WAY)),
    sa.Index("transactions_followers", "leader", postgresql_where=sa.text(_FOLLOWS)),
    # Whose last attempt was silent: hardly ever any, also where very many wait.
    sa.Index("transactions_silent", "kind", postgresql_where=sa.text(_SILENT)),
)

transaction_branches = sa.Table(
    "transaction_branches",
    metadata,
    sa.Column("transaction_id", UUID(as_uuid=True), sa.ForeignKey("transactions.id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("task_id", sa.Text, nullable=False),
    sa.Column("dispatched_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Column("status", sa.Text),
    sa.Column("vote", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("decided_at", _moment),
    sa.Column("settled_at", _moment),
    sa.CheckConstraint("outcome IN ('commit', 'rollback')", name="transaction_branches_outcome"),
)

branch_rows = sa.Table(
    "branch_rows",
    metadata,
    sa.Column("transaction_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("branch", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("created_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint("kind IN ('done', 'tombstone')", name="branch_rows_kind"),
    # For retention alone. (Block ranges cost less to write, but never forget: once young rows stand where old ones
    # were removed, every range seems to hold something old and each pass reads the whole table.)
    sa.Index("branch_rows_age", "created_at"),
)

participant_databases = sa.Table(
    "participant_databases",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("database", UUID(as_uuid=True), nullable=False),
    sa.Column("pinned_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
)

database_identity = sa.Table(
    "database_identity",
    metadata,
    # There is one row, and the key keeps it so.
    sa.Column("single", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("id", UUID(as_uuid=True), nullable=False, server_default=sa.text("gen_random_uuid()")),
    # NULL: nobody's yet.
    sa.Column("installation", sa.Text),
    sa.Column("service", sa.Text),
    sa.Column("created_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint("single", name="database_identity_single"),
)

local_calls = sa.Table(
    "local_calls",
    metadata,
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("answer", sa.JSON),
    sa.Column("created_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Index("local_calls_age", "created_at"),  # for retention alone
)

_V1 = """
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
    idempotency_caller text,
    idempotency_route text,
    idempotency_key text,
    fingerprint text,
    CONSTRAINT transactions_idempotency UNIQUE (idempotency_caller, idempotency_route, idempotency_key)
);
CREATE INDEX transactions_due ON transactions (next_look_at) WHERE next_look_at IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (created_at, id);
CREATE INDEX transactions_settled ON transactions USING brin (settled_at) WITH (autosummarize = on);
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
CREATE INDEX branch_rows_created ON branch_rows USING brin (created_at) WITH (autosummarize = on);
"""


def create_v1(op: Any) -> None:
    """Create the tables of version 1. `op` is Alembic's operations object."""
    op.execute(_V1)


def drop_v1(op: Any) -> None:
    """Take back ``create_v1``."""
    op.execute("DROP TABLE branch_rows, transaction_branches, transactions")


_V2 = """
DROP INDEX transactions_settled, branch_rows_created;
CREATE INDEX transactions_unsettled ON transactions (created_at, id) WHERE settled_at IS NULL;
CREATE INDEX transactions_aborted ON transactions (created_at, id) WHERE state = 'aborted';
CREATE INDEX branch_rows_age ON branch_rows (created_at);
-- Every look and every decision leaves a dead entry in the indexes of what is due and unsettled; sweeps read it until a
-- vacuum. By default that waits for a fifth of the table: the longer the history, the longer.
ALTER TABLE transactions SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);
"""

_BACK_TO_V1 = """
ALTER TABLE transactions RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
DROP INDEX transactions_unsettled, transactions_aborted, branch_rows_age;
CREATE INDEX transactions_settled ON transactions USING brin (settled_at) WITH (autosummarize = on);
CREATE INDEX branch_rows_created ON branch_rows USING brin (created_at) WITH (autosummarize = on);
"""


def create_v2(op: Any) -> None:
    """From version 1 to 2: what recovery, retention and people look for is found whatever the history."""
    op.execute(_V2)


def drop_v2(op: Any) -> None:
    """Take back ``create_v2``."""
    op.execute(_BACK_TO_V1)


_V3 = f"""
ALTER TABLE transactions
    ADD COLUMN leader uuid,
    ADD COLUMN leader_attempt integer,
    ADD COLUMN waits_until timestamptz,
    ADD COLUMN alone boolean NOT NULL DEFAULT false,
    ADD COLUMN silent_attempts integer NOT NULL DEFAULT 0;
UPDATE transactions SET waits_until = coalesce(next_look_at, clock_timestamp())
    WHERE state = 'preparing' AND NOT dispatched AND settled_at IS NULL AND attempt > 1;
CREATE INDEX transactions_waiting ON transactions (kind, waits_until) WHERE waits_until IS NOT NULL;
CREATE INDEX transactions_under_way ON transactions (kind) WHERE {_UNDER_WAY};
CREATE INDEX transactions_followers ON transactions (leader) WHERE {_FOLLOWS};
"""

_BACK_TO_V2 = """
DROP INDEX transactions_waiting, transactions_under_way, transactions_followers;
ALTER TABLE transactions
    DROP COLUMN leader, DROP COLUMN leader_attempt, DROP COLUMN waits_until, DROP COLUMN alone,
    DROP COLUMN silent_attempts;
"""


def create_v3(op: Any) -> None:
    """From version 2 to 3: transactions that share an attempt."""
    op.execute(_V3)


def drop_v3(op: Any) -> None:
    """Take back ``create_v3``. Only where nothing shares an attempt: let everything settle before."""
    op.execute(_BACK_TO_V2)


_V4 = """
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
CREATE INDEX transactions_silent ON transactions (kind) WHERE state = 'preparing' AND silent_attempts > 0;
"""

_BACK_TO_V3 = """
DROP INDEX transactions_silent;
DROP TABLE participant_databases, database_identity;
"""


def create_v4(op: Any) -> None:
    """From version 3 to 4: databases have names, and a coordinator knows those of its participants."""
    op.execute(_V4)


def drop_v4(op: Any) -> None:
    """Take back ``create_v4``."""
    op.execute(_BACK_TO_V3)


_V5 = """
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
"""


def create_v5(op: Any) -> None:
    """From version 4 to 5: what a service does by itself is done once for an Idempotency-Key."""
    op.execute(_V5)


def drop_v5(op: Any) -> None:
    """Take back ``create_v5``."""
    op.execute("DROP TABLE local_calls")
