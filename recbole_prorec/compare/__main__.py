"""python -m recbole_prorec.compare is the command compare_recbole."""

import sys

from recbole_prorec.compare.command import main

if __name__ == "__main__":
    sys.exit(main())
