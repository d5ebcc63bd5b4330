"""Pure functions from a statement's text to what the proxy does with it."""
