"""The value of pixels without a class, in the masks that networks learn from and are judged by."""

IGNORED = 255
