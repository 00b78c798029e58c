"""From a tower's width into the joint space."""
