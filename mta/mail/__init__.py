"""The nouns of mail. Standard library (and ``idna``) only: nothing here does IO or knows the service."""
