"""What a training leaves on disk: its record, the state to resume from, and how interruptions are taken."""
