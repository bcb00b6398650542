"""Its HTTP face: ``DELETE /users/<id>``."""

from __future__ import annotations

import flask

from benchmarks.installation import BENCHMARK

from .tasks import WAIT, remove_user


def create_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.delete("/users/<int:user_id>")
    def delete_user(user_id: int) -> flask.Response:
        remove_user.apply_async((user_id,), queue=BENCHMARK.branch_queue("users")).get(timeout=WAIT)
        return flask.jsonify({"user": user_id, "removed": True})

    return app
