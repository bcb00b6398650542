"""What Celery loads for both workers of the users service: ``celery -A users_service worker``."""

from celery_config.worker import run_sweeper_in_outcome_workers
from users_service.app import create_app

flask_app = create_app()
celery = flask_app.extensions["celery"]
run_sweeper_in_outcome_workers(celery, flask_app.extensions["atomic_commit"])
