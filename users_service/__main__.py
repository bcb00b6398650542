"""``python -m users_service api | worker | outcome-worker | migrate | transactions | release | in-doubt``"""

import sys

from service_roles.main import main

sys.exit(main("users_service"))
