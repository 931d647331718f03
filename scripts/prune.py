"""Prune channels and train what is left: `zoo prune`, from a checkout."""

from zoo.cli.training import main

if __name__ == "__main__":
    main("prune")
