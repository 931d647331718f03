"""How to train a network on N devices: what each row costs, where to cut, and how long a step takes."""
