"""`python -m epymarl_trust_region` is `epymarl-tr`."""

import sys

from epymarl_trust_region.cli import main

if __name__ == "__main__":
    sys.exit(main())
