"""The version, apart from all that would have to be imported with it."""

__version__ = "0.1.0"
