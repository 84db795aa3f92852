"""What tells people how things stand: summaries and reports; later drift, live performance and alerts."""
