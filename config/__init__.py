"""Every knob, and what ships with it. Imports nothing of ours."""
