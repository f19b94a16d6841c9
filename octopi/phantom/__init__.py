"""The built-in synthetic copick project behind `project=demo` and the tests."""

from octopi.phantom.store import make_phantom

__all__ = ["make_phantom"]
