"""For tests: failpoints, where a process can be made to die; and the pytest plugin with a line of services."""
