"""What did that answer mean? Pure: replies and reports in, classifications and notices out."""

__distribution__ = "imprimatur-mta"
