"""What comes back by mail: read, proved to be about mail of ours, and turned into what follows from it."""
