"""The version, apart from all that would have to be imported with it."""

__version__ = "1.0.0rc1"
