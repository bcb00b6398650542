"""Its HTTP face: ``DELETE /users/<id>``."""

from __future__ import annotations

import flask

from .saga import QUEUE, remove_user

#: Seconds between two looks at the saga's state (the library's default is 0.5, which would be all of the latency).
_LOOK_EVERY = 0.01
_WAIT = 60.0


def create_app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.delete("/users/<int:user_id>")
    def delete_user(user_id: int) -> flask.Response:
        remove_user.run(queue=QUEUE, user_id=user_id).get(timeout=_WAIT, interval=_LOOK_EVERY)
        return flask.jsonify({"user": user_id, "removed": True})

    return app
