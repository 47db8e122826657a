"""What this package is called and which version it is: the one place. pyproject.toml reads the version from here.

The name on PyPI is not the name that is imported, because there `mirage` is somebody else's.
"""

from pathlib import Path

__version__ = "0.1.0"
DISTRIBUTION = "mirage-world"
"""What pip installs; `import mirage` and the command `mirage` come with it."""
CHECKOUT = Path(__file__).resolve().parents[2]
"""Where .git, recipes/ and constraints.txt lie, if this is a checkout."""
