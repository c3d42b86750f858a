"""Train a teacher, compute its views once, distil students: each stage resumable, all of it one visible loop."""
