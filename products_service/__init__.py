"""The products service. Import rule: imports http_api, celery_config, service_roles and atomic_commit; never another
service (it names another's branches by celery_config.tasks)."""

from products_service.app import create_app

__all__ = ["create_app"]
