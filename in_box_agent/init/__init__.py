"""The first process of a box, in C, and the plan by which the agent tells it what to run."""
