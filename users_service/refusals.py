"""Why a user can't order: what one request and several at once are told alike."""

from __future__ import annotations

from typing import Any

from atomic_commit import Conflict, Refused


def of_order(user_id: int, user: Any | None) -> Refused:
    """For a user who was not found active a moment ago. `user`: the row, as it is now, or None. Raises
    Conflict where the user has become active since."""
    if user is None:
        return Refused("unknown_user", f"There is no user {user_id}.", "user_id")
    if user.status == "active":
        raise Conflict(f"user {user_id} has become active a moment ago")
    return Refused("user_is_being_removed", f"User {user_id} is being removed.", "user_id", str(user.removed_by))
