"""python -m analyzer: lists the commands; python -m analyzer COMMAND ... runs one."""

import sys

from analyzer.commands.all import main

if __name__ == "__main__":
    sys.exit(main())
