"""Stage 5: process bounces, complaints, unsubscribes and abuse mail."""
