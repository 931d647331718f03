"""`python -m zoo` is the `zoo` command."""

from zoo.cli import app

if __name__ == "__main__":
    app(prog_name="zoo")
