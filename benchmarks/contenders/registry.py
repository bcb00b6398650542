"""The contenders of the workload "removal", by the names that the command line knows."""

from __future__ import annotations

from .base import Contender
from .celery_saga.contender import CelerySaga
from .dbos_workflow.contender import DbosWorkflow
from .direct_2pc import Direct2PC
from .from_journal import FromJournal
from .nested_wait.contender import NestedWait
from .ours import Ours
from .raw_celery.contender import RawCelery

CONTENDERS: dict[str, type[Contender]] = {
    "ours": Ours,
    "journal": FromJournal,
    "nested": NestedWait,
    "dbos": DbosWorkflow,
    "celery-saga": CelerySaga,
    "direct-2pc": Direct2PC,
    "raw-celery": RawCelery,
}
