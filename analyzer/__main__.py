"""python -m analyzer: lists the commands; python -m analyzer COMMAND ... runs one."""

import sys

from analyzer.commands.entry import main

if __name__ == "__main__":
    sys.exit(main())
