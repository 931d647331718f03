"""The values of pixels and of tokens without a class, in the targets that networks learn from and are judged by."""

IGNORED = 255
NO_TOKEN = -100
