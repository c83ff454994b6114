"""Programs of mobile_demo for tests: the engine and the program for boards."""
