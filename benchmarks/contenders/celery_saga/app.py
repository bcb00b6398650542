"""Its HTTP face: ``DELETE /users/<id>``."""

from __future__ import annotations

import os

import flask

from .saga import QUEUE, remove_user

#: Seconds between two looks at the saga's state: short enough not to be the latency (the default is 0.5),
#: long enough that looking is not the work.
_LOOK_EVERY = float(os.environ.get("SAGA_LOOK_EVERY", "0.02"))
_WAIT = 60.0


def create_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.delete("/users/<int:user_id>")
    def delete_user(user_id: int) -> flask.Response:
        remove_user.run(queue=QUEUE, user_id=user_id).get(timeout=_WAIT, interval=_LOOK_EVERY)
        return flask.jsonify({"user": user_id, "removed": True})

    return app
