"""Train a student by teachers: `zoo distill`, from a checkout."""

from zoo.cli.training import main

if __name__ == "__main__":
    main("distill")
