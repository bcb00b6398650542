"""The protocol's tables, the same in every service's database.

``transactions`` and ``transaction_branches`` are the coordinator's journal: what was accepted, what was decided, what
is still owed to whom; ``participant_databases`` belongs to it: where each participant prepares. ``branch_rows`` is the
participant's side: one row for each branch that ever ran or was fenced here. ``database_identity`` has one row: which
database this is, and whose. ``local_calls`` is what the service has done by itself, once for an Idempotency-Key.

``migrations`` makes them.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

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
    # What the branches were given and returned, from the decision to commit on: what a branch would need to run again.
    sa.Column("branch_values", sa.JSON),
    # Since when its participants are to be asked what they know of it: this database may have forgotten.
    sa.Column("asking_since", _moment),
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
    comment="atomic_commit: version 2",  # which ``migrations`` goes by
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
    # The kind of transaction, with the service that coordinates it: ``users.remove_user``. NULL: of release 0.1.
    sa.Column("coordinated_by", sa.Text),
    # Transaction id → what the branch was given for it and has returned; those that share the attempt, without those
    # who were left out. NULL: of release 0.1, or a tombstone.
    sa.Column("members", JSONB),
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
    # One uninterrupted history of the server's log (``postgres.lives``), and when it was last seen going on.
    sa.Column("life", sa.Text),
    sa.Column("seen_at", _moment),
    # When the last other life was seen to have begun, and from when on something may have been forgotten.
    sa.Column("forked_at", _moment),
    sa.Column("forked_since", _moment),
    # Since when no transaction is accepted, and what a person has said why.
    sa.Column("paused_at", _moment),
    sa.Column("paused_because", sa.Text),
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

testimonies = sa.Table(
    "testimonies",
    metadata,
    sa.Column("transaction_id", UUID(as_uuid=True), primary_key=True),
    # 0: asked about the transaction, whatever attempts at it there were.
    sa.Column("attempt", sa.Integer, primary_key=True),
    # Who was asked.
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("found", sa.JSON, nullable=False),
    sa.Column("heard_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
)

coordinator_lives = sa.Table(
    "coordinator_lives",
    metadata,
    # A service that has come back older; which of its lives asked here last, and since when.
    sa.Column("coordinator", sa.Text, primary_key=True),
    sa.Column("life", sa.Text, nullable=False),
    sa.Column("met_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
)

losses = sa.Table(
    "losses",
    metadata,
    sa.Column("transaction_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("branch", sa.Text, primary_key=True),
    # "branch": a participant has forgotten what this service, its coordinator, has settled. "transaction": a
    # coordinator has forgotten what this service, its participant, has done.
    sa.Column("lost", sa.Text, primary_key=True),
    # Whose database has forgotten it.
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # Transaction id → the values that were lost.
    sa.Column("values", sa.JSON, nullable=False),
    sa.Column("found_at", _moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    # NULL: nobody has dealt with it.
    sa.Column("closed_at", _moment),
    sa.Column("closed_because", sa.Text),
    sa.CheckConstraint("lost IN ('branch', 'transaction')", name="losses_lost"),
)
