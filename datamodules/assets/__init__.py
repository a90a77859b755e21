"""Small data that ships with the platform."""
