"""Language models: the call with masks and caches, tokenizers, generation."""
