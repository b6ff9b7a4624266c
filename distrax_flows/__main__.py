"""The command line, as `python -m distrax_flows`."""

import sys

from distrax_flows.interfaces.command_line import main

if __name__ == "__main__":
    sys.exit(main())
