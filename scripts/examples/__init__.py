"""The environment in other reinforcement learning libraries, one short file each; docs/libraries.md lists them."""
