"""Scoring processes: started, fed and replaced by their parent, which is a command, a program or the HTTP service."""
