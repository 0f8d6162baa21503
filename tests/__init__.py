"""The suite. Mirrors the packages."""
