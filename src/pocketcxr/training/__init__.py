"""Training of teacher, student and input filter: each stage resumable, teacher outputs cached."""
