"""Fine-tune a network on your own pictures: `zoo finetune`, from a checkout."""

from zoo.cli.training import main

if __name__ == "__main__":
    main("finetune")
