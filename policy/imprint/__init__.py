"""The imprint: what a legal notice must show, and what a message lacks."""
