"""Floor 0: the kernel. It knows no business word."""
