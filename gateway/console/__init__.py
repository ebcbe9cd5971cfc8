"""The web console: server-rendered pages in French that work without JavaScript.

Pages read the real database and show codes, counts and pseudonyms; re-identifying a person needs more than a page.
Every sentence lives in `strings.toml`.
"""

from gateway.console.pages import routes

__all__ = ["routes"]
