"""What a config costs: phases, images a second, memory, and how far the loop is from a bare one."""
