"""The proxy process: clients on one side, the user's Postgres on the other, bytes in between."""
