"""``python -m atomic_commit -A <module> migrate | worker | outcome-worker | transactions | release | …``"""

import sys

from atomic_commit.cli.main import main

sys.exit(main(sys.argv[1:]))
