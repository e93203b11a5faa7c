"""The running service: the supervisor, its child processes and their periodic jobs."""
