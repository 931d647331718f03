"""The list of networks, and the source of the weights of each. No torch until weights are loaded."""

from zoo.catalog.source import Source as Source
from zoo.catalog.source import resolve as resolve
