"""`python -m davae_core` is the command `davae`."""

import sys

from .cli import main

sys.exit(main())
