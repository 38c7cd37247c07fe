"""What the gateway tells of itself: samples, metrics and logs."""
