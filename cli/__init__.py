"""See CONTRIBUTING.md for what this package holds."""
