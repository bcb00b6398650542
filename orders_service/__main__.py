"""``python -m orders_service api | worker | outcome-worker | migrate``"""

import sys

from service_roles.main import main

sys.exit(main("orders_service"))
