"""Stage 3: decide which delivery starts when, and record its outcome."""
