"""Commands, run from the checkout as modules: `python -m scripts.train --help`."""
