"""The forms in which reports come back, one family a file; ``bounce.report`` tries them in order."""
