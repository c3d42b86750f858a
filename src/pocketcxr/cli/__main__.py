"""Run the command line as ``python -m pocketcxr.cli``."""

import sys

from pocketcxr.cli import main

sys.exit(main())
