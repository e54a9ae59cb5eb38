"""`python -m davae_core` is the command `davae`."""

import sys

from .cli.commands import main

sys.exit(main())
