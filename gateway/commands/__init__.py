"""The commands of `maillon`, one module per user's job; `gateway/cli.py` assembles them."""
