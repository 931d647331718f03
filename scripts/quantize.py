"""Quantize to int8: `zoo quantize`, from a checkout."""

from zoo.cli.training import main

if __name__ == "__main__":
    main("quantize")
