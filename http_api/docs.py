"""`/docs`: the API to look at and to try, served whole from this process; no internet, no CDN.

The assets are those of the `swagger_ui_bundle` package (Swagger UI 4.15.5). That version reads OpenAPI 3.0
and not 3.1, which is why the document at `/openapi.json` is 3.0.3.
"""

from __future__ import annotations

import flask
import werkzeug
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

ASSETS = {"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"}
"""What the page needs. The package's own index.html, which shows somebody else's API, is not served."""

ONE_DAY = 86_400

# Nothing may come from elsewhere; Swagger UI sets style attributes and draws its icons from data: URLs.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{{ title }}</title>
  <link rel="icon" type="image/png" href="{{ url_for('docs.asset', name='favicon-32x32.png') }}">
  <link rel="stylesheet" href="{{ url_for('docs.asset', name='swagger-ui.css') }}">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="{{ url_for('docs.asset', name='swagger-ui-bundle.js') }}"></script>
  <script src="{{ url_for('docs.start') }}"></script>
</body>
</html>
"""

# validatorUrl: null, or Swagger UI would ask a server on the internet to judge the document.
START = """window.ui = SwaggerUIBundle({
  url: %s,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout"
});
"""


def register_docs(app: flask.Flask, *, title: str) -> None:
    """`/docs` and its assets, `/favicon.ico` (browsers ask for it unasked), and `/`, which leads there."""
    docs = flask.Blueprint("docs", __name__)

    @docs.get("/")
    def home() -> werkzeug.Response:
        return flask.redirect(flask.url_for("docs.browse"))

    @docs.get("/docs")
    def browse() -> flask.Response:
        response = flask.make_response(flask.render_template_string(PAGE, title=title))
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @docs.get("/docs/start.js")
    def start() -> flask.Response:
        document = flask.url_for("api-docs.openapi_json")
        return flask.Response(START % flask.json.dumps(document), mimetype="text/javascript")

    @docs.get("/docs/assets/<name>")
    def asset(name: str) -> flask.Response:
        if name not in ASSETS:
            flask.abort(404)
        return flask.send_from_directory(str(swagger_ui_path), name, max_age=ONE_DAY)

    @docs.get("/favicon.ico")
    def favicon() -> flask.Response:
        return flask.send_from_directory(str(swagger_ui_path), "favicon-32x32.png", max_age=ONE_DAY)

    app.register_blueprint(docs)
