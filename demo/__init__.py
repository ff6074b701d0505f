"""Two real web sites for the demo, served on loopback: the plays and poems, and the documentation."""
