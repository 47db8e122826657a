"""What this package is called and which version it is: the one place. pyproject.toml reads the version from here.

The name on PyPI is not the name that is imported, because there `mirage` is somebody else's.
"""

__version__ = "0.1.0"
DISTRIBUTION = "mirage-world"
"""What pip installs; `import mirage` and the command `mirage` come with it."""
