"""From a float32 model to the numbers that a scheme stores."""
