"""``python -m dtorch_run`` is ``dtorch-run``."""

import sys

from dtorch_run.cli import main

sys.exit(main())
