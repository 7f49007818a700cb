"""python -m recbole_prorec is the command run_recbole."""

import sys

from recbole_prorec.quick_start import main

if __name__ == "__main__":
    sys.exit(main())
