"""The pure scheduler: tasks and events in, instructions out. No clock, no files, no Ray."""
