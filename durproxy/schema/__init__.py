"""The home schema: what durproxy keeps in the user's database, as numbered SQL files."""
