"""Configuration: schema, loading, defaults. Imports no other package of this project."""

__distribution__ = "imprimatur-mta"
