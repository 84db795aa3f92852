"""What makes the graph move: jobs, schedules and sensors."""
